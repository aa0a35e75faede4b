# Each alert has a page of its name in runbooks/, which it carries along. Queries are PromQL, and the metrics that they name
# need not exist yet: an empty project has none.
locals {
  plan_functions = [for name, f in local.functions : f.service if f.auth == "purchase"] # they wait for the model
  feed_functions = [for name, f in local.functions : f.service if f.auth != "purchase"]

  requests = "run_googleapis_com:request_count{monitored_resource=\"cloud_run_revision\",service_name=~\"%s\"%s}"
  error_share = join(" ", [
    "(sum by (service_name) (rate(${local.requests}[5m]))",
    "/ sum by (service_name) (rate(${local.requests}[5m])) > %s)",
    "and sum by (service_name) (rate(${local.requests}[5m])) > %s",
  ])
  slow_requests = join(" ", [
    "histogram_quantile(0.95, sum by (le, service_name) (rate(run_googleapis_com:request_latencies_bucket{monitored_resource=\"cloud_run_revision\",service_name=~\"%s\"}[5m]))) > %s",
    "and on (service_name) sum by (service_name) (rate(${local.requests}[5m])) > %s",
  ])

  # Requests a second of a service below which its shares mean nothing: 30 in five minutes. A service that is down altogether
  # is seen by the uptime check.
  least_rate = 0.1

  services = {
    functions = { pattern = join("|", local.feed_functions), errors = 0.01, errors_for = "300s", slow_ms = 500, slow_for = "600s" }
    plans     = { pattern = join("|", local.plan_functions), errors = 0.05, errors_for = "600s", slow_ms = 90000, slow_for = "900s" }
    # A request of the chat's lasts as long as its connection, so its latency tells nothing.
    chat = { pattern = "chat-service", errors = 0.05, errors_for = "600s", slow_ms = null, slow_for = null }
  }

  alerts = merge(
    {
      for kind, s in local.services : "errors-${kind}" => {
        title    = "More than ${s.errors * 100} % of a service's requests fail (${kind})"
        duration = s.errors_for
        query    = format(local.error_share, s.pattern, ",response_code_class=\"5xx\"", s.pattern, "", s.errors, s.pattern, "", local.least_rate)
      }
    },
    {
      for kind, s in local.services : "latency-${kind}" => {
        title    = "A service is slow: p95 above ${s.slow_ms} ms (${kind})"
        duration = s.slow_for
        query    = format(local.slow_requests, s.pattern, s.slow_ms, s.pattern, "", local.least_rate)
      } if s.slow_ms != null
    },
    {
      health = {
        title    = "/health cannot be reached from the outside"
        duration = "180s" # three checks in a row
        query    = "count(monitoring_googleapis_com:uptime_check_check_passed{monitored_resource=\"uptime_url\",check_id=\"${google_monitoring_uptime_check_config.health.uptime_check_id}\"} == 0) >= 2"
      }
      certificate = {
        title    = "The certificate ends in less than two weeks"
        duration = "3600s"
        query    = "min(monitoring_googleapis_com:uptime_check_time_until_ssl_cert_expires{monitored_resource=\"uptime_url\",check_id=\"${google_monitoring_uptime_check_config.health.uptime_check_id}\"}) < 14"
      }
      connections = {
        title    = "The database has more than 80 % of its connections"
        duration = "300s"
        query    = "sum by (database_id) (cloudsql_googleapis_com:database_postgresql_num_backends{monitored_resource=\"cloudsql_database\",database_id=\"${local.instance_project}:${local.instance_name}\"}) > ${0.8 * local.max_connections}"
      }
      pool-waits = {
        title    = "Requests wait in vain for a connection to the database"
        duration = "120s"
        query    = "sum by (service) (increase(logging_googleapis_com:user_pool_waits{monitored_resource=\"cloud_run_revision\"}[5m])) > 5"
      }
      cleanup = {
        title    = "The clean-up has not succeeded for two hours"
        duration = "5400s" # after a success the query holds for the first half hour, so that this ends at two hours
        query    = "(sum(increase(run_googleapis_com:job_completed_execution_count{monitored_resource=\"cloud_run_job\",job_name=\"cleanup\",result=\"succeeded\"}[30m])) or vector(0)) < 0.5"
      }
    },
  )

  # What the platform only tells in its log.
  log_alerts = {
    revision = {
      title  = "A revision does not start"
      filter = "resource.type=\"cloud_run_revision\" AND log_id(\"cloudaudit.googleapis.com/system_event\") AND severity>=ERROR"
    }
    job = {
      title  = "A job has failed"
      filter = "resource.type=\"cloud_run_job\" AND log_id(\"cloudaudit.googleapis.com/system_event\") AND severity>=ERROR"
    }
  }

  channels = concat(var.notification_channels, [for channel in values(google_monitoring_notification_channel.email) : channel.id])
}

resource "google_monitoring_notification_channel" "email" {
  for_each = toset(var.notification_emails)

  display_name = each.key
  type         = "email"
  labels       = { email_address = each.key }

  depends_on = [google_project_service.api]
}

resource "google_monitoring_uptime_check_config" "health" {
  display_name     = "liftlog-health"
  period           = "60s"
  timeout          = "10s"
  selected_regions = ["USA", "EUROPE", "ASIA_PACIFIC", "SOUTH_AMERICA"]

  http_check {
    path         = "/health"
    port         = 443
    use_ssl      = true
    validate_ssl = true
  }

  content_matchers {
    content = "healthy"
  }

  monitored_resource {
    type   = "uptime_url"
    labels = { project_id = var.project, host = var.host }
  }

  depends_on = [google_project_service.api]
}

resource "google_monitoring_alert_policy" "metric" {
  for_each = local.alerts

  display_name          = each.value.title
  combiner              = "OR"
  severity              = "CRITICAL"
  notification_channels = local.channels

  conditions {
    display_name = each.key

    condition_prometheus_query_language {
      query                     = each.value.query
      duration                  = each.value.duration
      evaluation_interval       = "60s"
      disable_metric_validation = true
    }
  }

  alert_strategy {
    auto_close = "86400s"
  }

  documentation {
    content   = file("${path.module}/runbooks/${each.key}.md")
    mime_type = "text/markdown"
  }

  depends_on = [google_logging_metric.metric]
}

resource "google_monitoring_alert_policy" "log" {
  for_each = local.log_alerts

  display_name          = each.value.title
  combiner              = "OR"
  severity              = "ERROR"
  notification_channels = local.channels

  conditions {
    display_name = each.key

    condition_matched_log {
      filter = each.value.filter
    }
  }

  alert_strategy {
    auto_close = "86400s"

    notification_rate_limit {
      period = "3600s"
    }
  }

  documentation {
    content   = file("${path.module}/runbooks/${each.key}.md")
    mime_type = "text/markdown"
  }
}

resource "google_billing_budget" "monthly" {
  count = var.billing_account == null ? 0 : 1

  billing_account = var.billing_account
  display_name    = "liftlog ${var.project}"

  budget_filter {
    projects = ["projects/${data.google_project.current.number}"]
  }

  amount {
    specified_amount {
      currency_code = var.monthly_budget.currency
      units         = tostring(var.monthly_budget.amount)
    }
  }

  threshold_rules {
    threshold_percent = 0.8
  }

  threshold_rules {
    threshold_percent = 1
  }

  threshold_rules {
    threshold_percent = 1
    spend_basis       = "FORECASTED_SPEND"
  }

  all_updates_rule {
    # The API takes channels of mail only; the page for it is runbooks/budget.md.
    monitoring_notification_channels = [for channel in values(google_monitoring_notification_channel.email) : channel.id]
  }

  depends_on = [google_project_service.api]
}
