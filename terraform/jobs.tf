locals {
  jobs = { for name, program in local.programs : name => program if try(program.job, false) }

  # What a job is told beside its settings.
  job_variables = {
    cleanup = var.v1 == null ? {} : {
      # v1 reads expired events and then ends its process when one of them is gone before it deletes it.
      CLEANUP_EVENT_GRACE = "24h"
    }
    migrate = merge(
      { DATABASE_LOGINS = "run-*@${var.project}.iam" },
      try(var.v1.login, null) == null ? {} : { V1_DATABASE_LOGIN = var.v1.login },
    )
  }
  job_secrets = { for name, job in local.jobs : name => { for secret, reference in local.secret_references : secret => reference if contains(job.secrets, secret) } }
}

module "job" {
  source   = "./modules/program"
  for_each = local.jobs

  name           = each.key
  project        = var.project
  summary        = each.value.summary
  database       = local.databases[join(",", each.value.databases)]
  database_roles = each.key == "migrate" ? ["cloudsqlsuperuser"] : [] # somebody has to have the right to give rights
  secrets        = local.job_secrets[each.key]
  variables = merge(
    { for name, value in var.settings : name => value if contains(concat(local.common_settings, each.value.settings), name) },
    local.own_variables, lookup(local.job_variables, each.key, {}),
  )

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
      timeout               = "${each.value.timeout_s}s"
      max_retries           = 3 # the platform may count a task as failed that was not
      execution_environment = "EXECUTION_ENVIRONMENT_GEN2"

      containers {
        image = var.images[each.value.image]

        resources {
          limits = { cpu = each.value.cpu, memory = each.value.memory }
        }

        dynamic "env" {
          for_each = module.job[each.key].variables
          content {
            name  = env.key
            value = env.value
          }
        }

        dynamic "env" {
          for_each = local.job_secrets[each.key]
          content {
            name = env.key
            value_source {
              secret_key_ref {
                secret  = env.value.id
                version = env.value.version
              }
            }
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

  depends_on = [module.job, terraform_data.manifest, terraform_data.connection_budget, terraform_data.secret_versions]
}

locals {
  scheduled = { for name, job in local.jobs : name => job if try(job.schedule, "") != "" }
}

resource "google_service_account" "scheduler" {
  for_each = local.scheduled

  account_id   = "scheduler-${each.key}"
  display_name = "Starts the job ${each.key}, and nothing else."
}

resource "google_cloud_run_v2_job_iam_member" "scheduler" {
  for_each = local.scheduled

  name     = google_cloud_run_v2_job.job[each.key].name
  location = var.region
  role     = "roles/run.invoker"
  member   = google_service_account.scheduler[each.key].member
}

resource "google_cloud_scheduler_job" "job" {
  for_each = local.scheduled

  name             = each.key
  description      = each.value.summary
  region           = var.region
  schedule         = each.value.schedule
  time_zone        = "Etc/UTC"
  attempt_deadline = "60s"

  http_target {
    http_method = "POST"
    uri         = "https://run.googleapis.com/v2/projects/${var.project}/locations/${var.region}/jobs/${google_cloud_run_v2_job.job[each.key].name}:run"

    oauth_token {
      service_account_email = google_service_account.scheduler[each.key].email
    }
  }

  retry_config {
    retry_count = 3
  }

  depends_on = [google_project_service.api, google_cloud_run_v2_job_iam_member.scheduler]
}

# A state may hold one schedule without a key: it is the clean-up's.
moved {
  from = google_service_account.scheduler
  to   = google_service_account.scheduler["cleanup"]
}

moved {
  from = google_cloud_run_v2_job_iam_member.scheduler
  to   = google_cloud_run_v2_job_iam_member.scheduler["cleanup"]
}

moved {
  from = google_cloud_scheduler_job.cleanup
  to   = google_cloud_scheduler_job.job["cleanup"]
}
