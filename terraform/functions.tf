locals {
  # What every program reads, and each program's own by its entry in the lists.
  common_settings = ["CORS_ORIGINS", "LOG_LEVEL", "TEST_MODE"]
  known_settings = distinct(concat(
    local.common_settings,
    flatten([for r in local.routes : try(r.settings, [])]),
    flatten([for p in values(local.programs) : p.settings]),
  ))
  own_variables = {
    ENVIRONMENT          = var.environment
    GOOGLE_CLOUD_PROJECT = var.project
  }

  database = {
    connection_name = local.connection_name
    instance        = local.instance_name
    names           = { user = "liftlog_user_data", ratelimit = "liftlog_rate_limit" }
    project         = local.instance_project
  }
  # The instance and, of its databases, those that a program needs.
  databases = {
    for needed in distinct(concat([for f in values(local.functions) : f.databases], [for p in values(local.programs) : p.databases])) :
    join(",", needed) => length(needed) == 0 ? null : merge(local.database, { names = { for kind in needed : kind => local.database.names[kind] } })
  }
}

module "function" {
  source   = "./modules/function"
  for_each = local.functions

  name                = each.value.service
  project             = var.project
  region              = var.region
  summary             = each.value.summary
  image               = var.images["server"]
  concurrency         = each.value.concurrency
  cpu                 = each.value.cpu
  memory              = each.value.memory
  timeout_s           = each.value.timeout_s
  min_instances       = each.value.min_instances
  max_instances       = each.value.max_instances
  database            = local.databases[join(",", each.value.databases)]
  subnetwork          = google_compute_subnetwork.services.id
  secrets             = { for name, reference in local.secret_references : name => reference if contains(each.value.secrets, name) }
  security_policy     = google_compute_security_policy.policy[each.value.auth == "none" && each.value.writes ? "strict" : "usual"].id
  deletion_protection = var.deletion_protection
  variables = merge(
    { for name, value in var.settings : name => value if contains(concat(local.common_settings, try(each.value.settings, [])), name) },
    local.own_variables, { FUNCTION_TARGET = each.key },
  )

  depends_on = [terraform_data.manifest, terraform_data.connection_budget, terraform_data.secret_versions, google_sql_database.main]
}
