# A service behind the load balancer: its account and login, the service itself, and the way to it.
module "program" {
  source = "../program"

  name      = var.name
  project   = var.project
  summary   = var.summary
  database  = var.database
  secrets   = var.secrets
  variables = var.variables
}

resource "google_cloud_run_v2_service" "service" {
  name                 = var.name
  description          = var.summary
  location             = var.region
  ingress              = "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER"
  default_uri_disabled = true
  invoker_iam_disabled = true # the load balancer calls for everybody, and organisations forbid to allow allUsers
  deletion_protection  = var.deletion_protection

  # Of the service and not of a revision, so that two revisions side by side have no more connections than one.
  scaling {
    min_instance_count = var.min_instances
    max_instance_count = var.max_instances
  }

  template {
    service_account                  = module.program.email
    timeout                          = "${var.timeout_s}s"
    max_instance_request_concurrency = var.concurrency
    session_affinity                 = var.always_on
    # The second generation needs 512 MiB; the first one starts faster.
    execution_environment = tonumber(trimsuffix(var.memory, "Mi")) < 512 ? "EXECUTION_ENVIRONMENT_GEN1" : "EXECUTION_ENVIRONMENT_GEN2"

    containers {
      image = var.image

      resources {
        limits            = { cpu = var.cpu, memory = var.memory }
        cpu_idle          = !var.always_on
        startup_cpu_boost = true
      }

      dynamic "env" {
        for_each = merge(module.program.variables, { CLOUD_RUN_TIMEOUT_SECONDS = tostring(var.timeout_s) })
        content {
          name  = env.key
          value = env.value
        }
      }

      dynamic "env" {
        for_each = var.secrets
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

      # The first connection to the database may take a minute when an instance starts. Every second, because a probe that
      # misses costs a whole period.
      startup_probe {
        period_seconds    = 1
        timeout_seconds   = 1
        failure_threshold = 120
        http_get {
          path = "/health/ready"
        }
      }

      liveness_probe {
        period_seconds    = 30
        timeout_seconds   = 5
        failure_threshold = 3
        http_get {
          path = "/health/live"
        }
      }
    }

    dynamic "vpc_access" {
      for_each = var.database == null ? [] : [var.subnetwork]
      content {
        egress = "PRIVATE_RANGES_ONLY"
        network_interfaces {
          subnetwork = vpc_access.value
        }
      }
    }
  }

  lifecycle {
    # The pipeline's: which image runs, and which revision gets how much traffic. An ignored image is the one that was read
    # while planning, so plan and apply are one step, under the lock that deploying takes as well.
    ignore_changes = [
      annotations,
      client,
      client_version,
      labels,
      template[0].annotations,
      template[0].containers[0].image,
      template[0].labels,
      template[0].revision,
      traffic,
    ]
  }

  depends_on = [module.program] # a revision reads its secrets when it starts
}

# A group that is in use cannot be replaced in place: the new one gets another name, and the old one is removed last.
resource "google_compute_region_network_endpoint_group" "service" {
  name                  = "${var.name}-${substr(sha256("${var.region}/${google_cloud_run_v2_service.service.name}"), 0, 8)}"
  region                = var.region
  network_endpoint_type = "SERVERLESS"

  cloud_run {
    service = google_cloud_run_v2_service.service.name
  }

  lifecycle {
    create_before_destroy = true
  }
}

# No health check and no timeout_sec: the API refuses them before serverless endpoints.
resource "google_compute_backend_service" "service" {
  name                  = var.name
  load_balancing_scheme = "EXTERNAL_MANAGED"
  protocol              = "HTTPS"
  security_policy       = var.security_policy

  backend {
    group = google_compute_region_network_endpoint_group.service.id
  }

  log_config {
    enable      = true
    sample_rate = 1
  }

  lifecycle {
    create_before_destroy = true # the map lets go of it first
  }
}
