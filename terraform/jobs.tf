locals {
  jobs = {
    cleanup = {
      variables = var.v1 == null ? {} : {
        # v1 reads expired events and then ends its process when one of them is gone before it deletes it.
        CLEANUP_EVENT_GRACE = "24h"
      }
      database_roles = []
    }
    migrate = {
      variables = merge(
        { DATABASE_LOGINS = "run-*@${var.project}.iam" },
        try(var.v1.login, null) == null ? {} : { V1_DATABASE_LOGIN = var.v1.login },
      )
      database_roles = ["cloudsqlsuperuser"] # somebody has to have the right to give rights
    }
  }
}

module "job" {
  source   = "./modules/program"
  for_each = local.jobs

  name           = each.key
  project        = var.project
  summary        = local.programs[each.key].summary
  database       = local.databases[join(",", local.programs[each.key].databases)]
  database_roles = each.value.database_roles
  secrets        = {}
  variables      = merge({ for name, value in var.settings : name => value if contains(local.common_settings, name) }, local.own_variables, each.value.variables)

  depends_on = [google_sql_database.main]
}

resource "google_cloud_run_v2_job" "job" {
  for_each = local.jobs

  name                = each.key
  location            = var.region
  deletion_protection = var.deletion_protection

  template {
    task_count  = 1
    parallelism = 1

    template {
      service_account       = module.job[each.key].email
      timeout               = "${local.programs[each.key].timeout_s}s"
      max_retries           = 3 # the platform may count a task as failed that was not
      execution_environment = "EXECUTION_ENVIRONMENT_GEN2"

      containers {
        image = var.images[each.key]

        resources {
          limits = { cpu = local.programs[each.key].cpu, memory = local.programs[each.key].memory }
        }

        dynamic "env" {
          for_each = module.job[each.key].variables
          content {
            name  = env.key
            value = env.value
          }
        }
      }

      vpc_access {
        egress = "PRIVATE_RANGES_ONLY"
        network_interfaces {
          subnetwork = google_compute_subnetwork.services.id
        }
      }
    }
  }

  lifecycle {
    ignore_changes = [
      annotations,
      client,
      client_version,
      labels,
      template[0].annotations,
      template[0].labels,
      template[0].template[0].containers[0].image,
    ]
  }

  depends_on = [module.job, terraform_data.manifest, terraform_data.connection_budget]
}

resource "google_service_account" "scheduler" {
  account_id   = "scheduler-cleanup"
  display_name = "Starts the clean-up, and nothing else."
}

resource "google_cloud_run_v2_job_iam_member" "scheduler" {
  name     = google_cloud_run_v2_job.job["cleanup"].name
  location = var.region
  role     = "roles/run.invoker"
  member   = google_service_account.scheduler.member
}

resource "google_cloud_scheduler_job" "cleanup" {
  name             = "cleanup"
  description      = local.programs["cleanup"].summary
  region           = var.region
  schedule         = "17 * * * *"
  time_zone        = "Etc/UTC"
  attempt_deadline = "60s"

  http_target {
    http_method = "POST"
    uri         = "https://run.googleapis.com/v2/projects/${var.project}/locations/${var.region}/jobs/${google_cloud_run_v2_job.job["cleanup"].name}:run"

    oauth_token {
      service_account_email = google_service_account.scheduler.email
    }
  }

  retry_config {
    retry_count = 3
  }

  depends_on = [google_project_service.api, google_cloud_run_v2_job_iam_member.scheduler]
}
