locals {
  chat_max_connections = tonumber(lookup(var.settings, "CHAT_MAX_CONNECTIONS", "900"))
}

module "chat" {
  source = "./modules/function"

  name                = "chat-service"
  project             = var.project
  region              = var.region
  summary             = local.chat.summary
  image               = var.images[local.chat.image]
  always_on           = true
  concurrency         = local.chat.concurrency
  cpu                 = local.chat.cpu
  memory              = local.chat.memory
  timeout_s           = local.chat.timeout_s
  min_instances       = local.chat.min_instances
  max_instances       = local.chat.max_instances
  database            = local.databases[join(",", local.chat.databases)]
  subnetwork          = google_compute_subnetwork.services.id
  secrets             = { for name, reference in local.secret_references : name => reference if contains(local.chat.secrets, name) }
  security_policy     = google_compute_security_policy.policy["usual"].id
  deletion_protection = var.deletion_protection
  variables = merge(
    { for name, value in var.settings : name => value if contains(concat(local.common_settings, local.chat.settings), name) },
    local.own_variables,
  )

  depends_on = [terraform_data.chat, terraform_data.manifest, terraform_data.connection_budget, terraform_data.secret_versions, google_sql_database.main]
}

resource "terraform_data" "chat" {
  input = local.chat_max_connections

  lifecycle {
    precondition {
      condition     = local.chat.concurrency > local.chat_max_connections
      error_message = "CHAT_MAX_CONNECTIONS is ${local.chat_max_connections}, and the platform gives an instance of the chat ${local.chat.concurrency} requests at a time: it has to be less, so that probes and refusals get through."
    }
  }
}
