# Thresholds and durations of the alerts. alerts_test.go runs their queries on made-up series.
mock_provider "google" {}

# Known after an apply only, and part of queries.
override_resource {
  target          = google_monitoring_uptime_check_config.health
  override_during = plan
  values          = { uptime_check_id = "liftlog-health-x1" }
}

run "production" {
  command = plan

  assert {
    condition     = strcontains(google_monitoring_alert_policy.metric["errors-functions"].conditions[0].condition_prometheus_query_language[0].query, " > 0.01)") && google_monitoring_alert_policy.metric["errors-functions"].conditions[0].condition_prometheus_query_language[0].duration == "300s"
    error_message = "errors are not told of above 1 % for 5 minutes"
  }

  assert {
    condition     = strcontains(google_monitoring_alert_policy.metric["latency-functions"].conditions[0].condition_prometheus_query_language[0].query, "histogram_quantile(0.95,") && strcontains(google_monitoring_alert_policy.metric["latency-functions"].conditions[0].condition_prometheus_query_language[0].query, " > 500 ") && google_monitoring_alert_policy.metric["latency-functions"].conditions[0].condition_prometheus_query_language[0].duration == "600s"
    error_message = "slowness is not told of above 500 ms for 10 minutes"
  }

  assert {
    condition     = google_monitoring_uptime_check_config.health.period == "60s" && google_monitoring_alert_policy.metric["health"].conditions[0].condition_prometheus_query_language[0].duration == "180s" && length(google_monitoring_uptime_check_config.health.selected_regions) >= 3
    error_message = "an outage is not told of after three checks from three regions"
  }

  assert {
    condition     = google_monitoring_uptime_check_config.health.http_check[0].path == "/health" && google_monitoring_uptime_check_config.health.http_check[0].use_ssl && google_monitoring_uptime_check_config.health.http_check[0].validate_ssl && google_monitoring_uptime_check_config.health.monitored_resource[0].labels.host == var.host
    error_message = "the check from the outside asks for something else"
  }

  assert {
    condition     = strcontains(google_monitoring_alert_policy.metric["connections"].conditions[0].condition_prometheus_query_language[0].query, "num_backends") && endswith(google_monitoring_alert_policy.metric["connections"].conditions[0].condition_prometheus_query_language[0].query, " > ${0.8 * var.database.max_connections}")
    error_message = "the database's connections are not told of above 80 %"
  }

  assert {
    condition = alltrue([for policy in google_monitoring_alert_policy.metric :
      policy.conditions[0].condition_prometheus_query_language[0].disable_metric_validation && length(policy.notification_channels) > 0 && length(policy.documentation[0].content) > 300
    ]) && alltrue([for policy in google_monitoring_alert_policy.log : length(policy.notification_channels) > 0 && length(policy.documentation[0].content) > 300])
    error_message = "an alert needs its metric to exist, tells nobody, or has no page"
  }

  assert {
    condition     = length(google_billing_budget.monthly) == 1 && length(google_billing_budget.monthly[0].all_updates_rule[0].monitoring_notification_channels) > 0
    error_message = "nobody is told of the costs"
  }

  assert {
    condition     = alltrue([for d in google_monitoring_dashboard.dashboard : length(jsondecode(d.dashboard_json).mosaicLayout.tiles) <= 50])
    error_message = "a dashboard has more widgets than the API takes"
  }

  assert {
    condition     = strcontains(google_logging_metric.metric["pool_waits"].filter, "jsonPayload.pool.timedOut>0")
    error_message = "waits for a connection are not counted"
  }
}
