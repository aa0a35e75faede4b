# What is in the root itself: jobs, database, logs, Armor, v1.
mock_provider "google" {}

run "production" {
  command = plan
  variables {
    build_repository = "projects/p/locations/europe-west1/connections/c/repositories/r"

    v1        = { host = "v1.liftlog.com", login = "liftlog" }
    v2_weight = { reads = 0, writes = 0 }
  }

  assert {
    condition     = google_cloudbuild_trigger.release[0].approval_config[0].approval_required && google_cloudbuild_trigger.release[0].filename == "cloudbuild.production.yaml"
    error_message = "production takes a release that nobody has approved"
  }

  assert {
    condition     = google_cloudbuild_trigger.pull_requests[0].filename == "cloudbuild.pull-request.yaml"
    error_message = "pull requests are built by what deploys"
  }

  assert {
    condition     = can(regex("^[0-9]+ \\* \\* \\* \\*$", google_cloud_scheduler_job.job["cleanup"].schedule)) && endswith(google_cloud_scheduler_job.job["cleanup"].http_target[0].uri, "/projects/liftlog-production/locations/europe-west1/jobs/cleanup:run") && startswith(google_cloud_scheduler_job.job["cleanup"].http_target[0].uri, "https://run.googleapis.com/v2/")
    error_message = "the clean-up does not run every hour"
  }

  assert {
    condition     = [for e in google_cloud_run_v2_job.job["cleanup"].template[0].template[0].containers[0].env : e.value if e.name == "CLEANUP_EVENT_GRACE"] == ["24h"]
    error_message = "the clean-up takes events from under v1"
  }

  assert {
    condition     = { for e in google_cloud_run_v2_job.job["migrate"].template[0].template[0].containers[0].env : e.name => e.value }["V1_DATABASE_LOGIN"] == "liftlog"
    error_message = "the migration does not know v1's login"
  }

  assert {
    condition     = google_sql_database_instance.main[0].deletion_protection && google_sql_database_instance.main[0].settings[0].deletion_protection_enabled
    error_message = "the database can be destroyed by mistake"
  }

  assert {
    condition     = !google_sql_database_instance.main[0].settings[0].ip_configuration[0].ipv4_enabled
    error_message = "the database has a public address"
  }

  assert {
    condition     = google_sql_database_instance.main[0].settings[0].backup_configuration[0].enabled && google_sql_database_instance.main[0].settings[0].backup_configuration[0].point_in_time_recovery_enabled && google_sql_database_instance.main[0].settings[0].backup_configuration[0].backup_retention_settings[0].retained_backups == 7
    error_message = "the database is not backed up"
  }

  assert {
    condition     = google_sql_database_instance.main[0].settings[0].availability_type == "REGIONAL" && google_sql_database_instance.main[0].settings[0].edition == "ENTERPRISE"
    error_message = "production's database does not survive a zone"
  }

  assert {
    condition     = { for f in google_sql_database_instance.main[0].settings[0].database_flags : f.name => f.value } == { "cloudsql.iam_authentication" = "on", "max_connections" = "400" }
    error_message = "the database's flags are others than those that are planned with"
  }

  assert {
    condition     = google_sql_database_instance.main[0].settings[0].connector_enforcement == "NOT_REQUIRED"
    error_message = "v1 cannot connect to the database"
  }

  assert {
    condition     = google_sql_database_instance.main[0].settings[0].insights_config[0].query_insights_enabled && !google_sql_database_instance.main[0].settings[0].insights_config[0].record_client_address
    error_message = "insights are off, or keep addresses"
  }

  assert {
    condition     = toset([for d in google_sql_database.main : d.name]) == toset(["liftlog_user_data", "liftlog_rate_limit"])
    error_message = "the databases have other names"
  }

  assert {
    condition     = google_service_networking_connection.database[0].deletion_policy == "ABANDON"
    error_message = "destroying waits for a peering that refuses to go"
  }

  assert {
    condition     = strcontains(google_logging_project_exclusion.requests.filter, "run.googleapis.com/requests") && strcontains(google_logging_project_exclusion.requests.filter, "http_load_balancer")
    error_message = "addresses and URLs of requests are kept"
  }

  assert {
    condition     = google_logging_project_bucket_config.denied.retention_days == 7 && strcontains(google_logging_project_sink.denied.filter, "enforcedSecurityPolicy.outcome=\"DENY\"")
    error_message = "more than refused requests are kept, or longer"
  }

  assert {
    condition = alltrue(flatten([for policy in google_compute_security_policy.policy : [
      for rule in policy.rule : rule.rate_limit_options[0].enforce_on_key == "IP" && rule.rate_limit_options[0].exceed_action == "deny(429)" if rule.action == "throttle"
    ]])) && alltrue([for policy in google_compute_security_policy.policy : length([for rule in policy.rule : rule if rule.action == "throttle"]) == 1])
    error_message = "a policy does not count by address, or answers something else than 429"
  }

  assert {
    condition     = [for rule in google_compute_security_policy.policy["strict"].rule : rule.rate_limit_options[0].rate_limit_threshold[0].count if rule.action == "throttle"] == [60] && [for rule in google_compute_security_policy.policy["usual"].rule : rule.rate_limit_options[0].rate_limit_threshold[0].count if rule.action == "throttle"] == [600]
    error_message = "the strict policy is not stricter"
  }

  assert {
    condition     = google_compute_backend_service.v1[0].custom_request_headers == toset(["Host: v1.liftlog.com"]) && google_compute_global_network_endpoint.v1[0].fqdn == "v1.liftlog.com"
    error_message = "v1 is not called by its own name"
  }
}

run "on_v1s_instance" {
  command = plan
  variables {
    existing_instance = "liftlog-old:europe-west1:v1"
    v1                = { cloud_run = "liftlog-v1", connections = 100 }
  }
  override_data {
    target = data.google_sql_database_instance.existing[0]
    values = {
      settings = [{
        database_flags   = [{ name = "max_connections", value = "400" }, { name = "cloudsql.iam_authentication", value = "on" }]
        ip_configuration = [{ private_network = "projects/liftlog-old/global/networks/default" }]
      }]
    }
  }

  assert {
    condition     = length(google_sql_database_instance.main) == 0 && length(google_sql_database.main) == 0 && length(google_compute_network.main) == 0
    error_message = "a second instance is made beside v1's"
  }

  assert {
    condition     = google_compute_subnetwork.services.network == "projects/liftlog-old/global/networks/default"
    error_message = "the services are in another network than v1's instance"
  }

  assert {
    condition     = { for e in google_cloud_run_v2_job.job["migrate"].template[0].template[0].containers[0].env : e.name => e.value }["CLOUD_SQL_INSTANCE"] == "liftlog-old:europe-west1:v1"
    error_message = "the migration works on another instance than v1's"
  }

  assert {
    condition     = google_compute_region_network_endpoint_group.v1[0].cloud_run[0].service == "liftlog-v1" && google_compute_backend_service.v1[0].custom_request_headers == null
    error_message = "v1's service is not behind the load balancer"
  }
}

run "after_v1" {
  command = plan
  variables {
    v1 = null
  }

  assert {
    condition     = google_sql_database_instance.main[0].settings[0].connector_enforcement == "REQUIRED"
    error_message = "the database takes logins past the connector, which nobody needs"
  }

  assert {
    condition     = [for e in google_cloud_run_v2_job.job["cleanup"].template[0].template[0].containers[0].env : e.value if e.name == "CLEANUP_EVENT_GRACE"] == []
    error_message = "the clean-up waits for nobody"
  }
}
