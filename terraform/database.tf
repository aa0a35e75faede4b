locals {
  own_connection_name = "${var.project}:${var.region}:${var.database.name}"
  connection_name     = coalesce(var.existing_instance, local.own_connection_name)
  instance_project    = var.existing_instance == null ? var.project : join(":", slice(split(":", var.existing_instance), 0, length(split(":", var.existing_instance)) - 2))
  instance_name       = var.existing_instance == null ? google_sql_database_instance.main[0].name : reverse(split(":", var.existing_instance))[0]

  existing_flags  = var.existing_instance == null ? {} : { for flag in data.google_sql_database_instance.existing[0].settings[0].database_flags : flag.name => flag.value }
  max_connections = var.existing_instance == null ? var.database.max_connections : tonumber(lookup(local.existing_flags, "max_connections", var.database.max_connections))
}

resource "google_sql_database_instance" "main" {
  count = var.existing_instance == null ? 1 : 0

  name                = var.database.name
  region              = var.region
  database_version    = var.database.version
  deletion_protection = var.deletion_protection

  settings {
    tier                        = var.database.tier
    edition                     = var.database.edition
    availability_type           = var.database.high_availability ? "REGIONAL" : "ZONAL"
    disk_type                   = "PD_SSD"
    disk_size                   = var.database.disk_gb
    disk_autoresize             = true
    deletion_protection_enabled = var.deletion_protection
    retain_backups_on_delete    = true
    connector_enforcement       = var.v1 == null ? "REQUIRED" : "NOT_REQUIRED" # v1's Npgsql connects directly

    backup_configuration {
      enabled                        = true
      start_time                     = "02:00"
      point_in_time_recovery_enabled = true
      transaction_log_retention_days = 7

      backup_retention_settings {
        retained_backups = 7
        retention_unit   = "COUNT"
      }
    }

    database_flags {
      name  = "cloudsql.iam_authentication"
      value = "on"
    }

    database_flags {
      name  = "max_connections"
      value = tostring(var.database.max_connections)
    }

    insights_config {
      query_insights_enabled  = true
      record_client_address   = false
      record_application_tags = false
    }

    ip_configuration {
      ipv4_enabled    = false
      private_network = local.network
      ssl_mode        = "ENCRYPTED_ONLY"
    }

    maintenance_window {
      day          = 2
      hour         = 3
      update_track = "stable"
    }
  }

  lifecycle {
    ignore_changes = [settings[0].disk_size] # it grows by itself
  }

  depends_on = [google_service_networking_connection.database, google_project_service.api]
}

resource "google_sql_database" "main" {
  for_each = var.existing_instance == null ? { user = "liftlog_user_data", ratelimit = "liftlog_rate_limit" } : {}

  name            = each.value
  instance        = local.instance_name
  deletion_policy = "ABANDON"
}

# v1's instance belongs to its owner, who has to have prepared it.
data "google_sql_database_instance" "existing" {
  count = var.existing_instance == null ? 0 : 1

  name    = reverse(split(":", var.existing_instance))[0]
  project = local.instance_project

  lifecycle {
    postcondition {
      condition     = anytrue([for flag in self.settings[0].database_flags : flag.name == "cloudsql.iam_authentication" && flag.value == "on"])
      error_message = "v1's instance has no IAM login. Its owner sets the flags (all of them are given at once, so name the others too): `gcloud sql instances patch INSTANCE --database-flags=cloudsql.iam_authentication=on,max_connections=N`, which restarts it."
    }

    postcondition {
      condition     = anytrue([for flag in self.settings[0].database_flags : flag.name == "max_connections" && flag.value == tostring(var.database.max_connections)])
      error_message = "v1's instance does not have max_connections = ${var.database.max_connections} as a flag, with which the plan counts: correct database.max_connections, or have its owner set the flag."
    }

    postcondition {
      condition     = try(self.settings[0].ip_configuration[0].private_network, "") != ""
      error_message = "v1's instance has no private address, over which the services reach it: `gcloud sql instances patch INSTANCE --network=NETWORK`."
    }
  }
}
