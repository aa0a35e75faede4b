locals {
  # What every program is told.
  common_variables = merge(var.settings, {
    ENVIRONMENT          = var.environment
    GOOGLE_CLOUD_PROJECT = var.project
  })

  own_variables = concat(keys(local.secrets), [
    "CLEANUP_EVENT_GRACE", "CLOUD_RUN_TIMEOUT_SECONDS", "CLOUD_SQL_INSTANCE", "DATABASE_LOGINS", "DATABASE_URL", "ENVIRONMENT", "FUNCTION_TARGET",
    "GOOGLE_CLOUD_PROJECT", "PORT", "RATE_LIMIT_DATABASE_URL", "V1_DATABASE_LOGIN",
  ])

  database = {
    connection_name = local.connection_name
    instance        = local.instance_name
    names           = { user = "liftlog_user_data", ratelimit = "liftlog_rate_limit" }
    project         = local.instance_project
  }
}

module "function" {
  source   = "./modules/function"
  for_each = local.functions

  name                = each.value.service
  project             = var.project
  region              = var.region
  summary             = each.value.summary
  image               = var.images.functions
  concurrency         = each.value.concurrency
  cpu                 = each.value.cpu
  memory              = each.value.memory
  timeout_s           = each.value.timeout_s
  min_instances       = each.value.min_instances
  max_instances       = each.value.max_instances
  database            = length(each.value.databases) == 0 ? null : local.database
  subnetwork          = google_compute_subnetwork.services.id
  secrets             = { for name, reference in local.secret_references : name => reference if contains(each.value.secrets, name) }
  security_policy     = google_compute_security_policy.policy[each.value.auth == "none" && each.value.writes ? "strict" : "usual"].id
  deletion_protection = var.deletion_protection
  variables           = merge(local.common_variables, { FUNCTION_TARGET = each.key })

  depends_on = [terraform_data.manifest, terraform_data.connection_budget, terraform_data.secret_versions, google_sql_database.main]
}
