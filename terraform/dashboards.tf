# Charts in three columns. A widget is a title and one or several queries with their legends.
locals {
  rate = "run_googleapis_com:request_count{monitored_resource=\"cloud_run_revision\"%s}"
  wait = "run_googleapis_com:request_latencies_bucket{monitored_resource=\"cloud_run_revision\"%s}"

  quantiles = { for q in [50, 95, 99] : "p${q}" => q / 100 }

  charts = {
    service = concat(
      [for name, q in local.quantiles : {
        title   = "Latency ${name} by service, ms"
        queries = { "{{service_name}}" = "histogram_quantile(${q}, sum by (le, service_name) (rate(${format(local.wait, ",service_name!=\"chat-service\"")}[5m])))" }
      }],
      [
        { title = "Requests a second by service: use by endpoint", queries = { "{{service_name}}" = "sum by (service_name) (rate(${format(local.rate, "")}[5m]))" } },
        { title = "Share of errors by service", queries = { "{{service_name}}" = "sum by (service_name) (rate(${format(local.rate, ",response_code_class=\"5xx\"")}[5m])) / sum by (service_name) (rate(${format(local.rate, "")}[5m]))" } },
        { title = "Answers a second by status", queries = { "{{response_code}}" = "sum by (response_code) (rate(${format(local.rate, "")}[5m]))" } },
        { title = "Instances by service", queries = { "{{service_name}} {{state}}" = "sum by (service_name, state) (run_googleapis_com:container_instance_count{monitored_resource=\"cloud_run_revision\"})" } },
        { title = "Memory, p95 of instances", queries = { "{{service_name}}" = "histogram_quantile(0.95, sum by (le, service_name) (rate(run_googleapis_com:container_memory_utilizations_bucket{monitored_resource=\"cloud_run_revision\"}[5m])))" } },
        { title = "CPU, p95 of instances", queries = { "{{service_name}}" = "histogram_quantile(0.95, sum by (le, service_name) (rate(run_googleapis_com:container_cpu_utilizations_bucket{monitored_resource=\"cloud_run_revision\"}[5m])))" } },
        { title = "v1 beside v2: requests a second by backend", queries = { "{{backend_target_name}}" = "sum by (backend_target_name) (rate(loadbalancing_googleapis_com:https_request_count{monitored_resource=\"https_lb_rule\"}[5m]))" } },
        { title = "v1 beside v2: share of errors", queries = { "v1" = "sum(rate(loadbalancing_googleapis_com:https_request_count{monitored_resource=\"https_lb_rule\",backend_target_name=\"v1\",response_code_class=\"500\"}[5m])) / sum(rate(loadbalancing_googleapis_com:https_request_count{monitored_resource=\"https_lb_rule\",backend_target_name=\"v1\"}[5m]))", "v2" = "sum(rate(loadbalancing_googleapis_com:https_request_count{monitored_resource=\"https_lb_rule\",backend_target_name!=\"v1\",response_code_class=\"500\"}[5m])) / sum(rate(loadbalancing_googleapis_com:https_request_count{monitored_resource=\"https_lb_rule\",backend_target_name!=\"v1\"}[5m]))" } },
        { title = "Requests that Cloud Armor refused", queries = { "{{policy_name}}" = "sum by (policy_name) (rate(networksecurity_googleapis_com:https_request_count{blocked=\"true\"}[5m]))" } },
      ],
    )
    behind = [
      { title = "Database: connections", queries = { "{{database}}" = "sum by (database) (cloudsql_googleapis_com:database_postgresql_num_backends{monitored_resource=\"cloudsql_instance_database\"})", "80 %" = "vector(${0.8 * local.max_connections})" } },
      { title = "Database: CPU", queries = { "{{database_id}}" = "cloudsql_googleapis_com:database_cpu_utilization{monitored_resource=\"cloudsql_database\"}" } },
      { title = "Database: memory", queries = { "{{database_id}}" = "cloudsql_googleapis_com:database_memory_utilization{monitored_resource=\"cloudsql_database\"}" } },
      { title = "Database: disk", queries = { "{{database_id}}" = "cloudsql_googleapis_com:database_disk_utilization{monitored_resource=\"cloudsql_database\"}" } },
      { title = "Waits for a connection past their time", queries = { "{{service}}" = "sum by (service) (increase(logging_googleapis_com:user_pool_waits{monitored_resource=\"cloud_run_revision\"}[5m]))" } },
      { title = "Clean-up: executions by result", queries = { "{{result}}" = "sum by (result) (increase(run_googleapis_com:job_completed_execution_count{monitored_resource=\"cloud_run_job\",job_name=\"cleanup\"}[1h]))" } },
      { title = "Chat: connections by instance, p95", queries = { "p95" = "histogram_quantile(0.95, sum by (le) (rate(run_googleapis_com:container_max_request_concurrencies_bucket{monitored_resource=\"cloud_run_revision\",service_name=\"chat-service\"}[5m])))" } },
      { title = "Chat: instances", queries = { "{{state}}" = "sum by (state) (run_googleapis_com:container_instance_count{monitored_resource=\"cloud_run_revision\",service_name=\"chat-service\"})" } },
      { title = "Chat: answers by status", queries = { "{{response_code}}" = "sum by (response_code) (rate(${format(local.rate, ",service_name=\"chat-service\"")}[5m]))" } },
      { title = "Planner: calls of the model a minute", queries = { "{{service}}" = "60 * sum by (service) (rate(logging_googleapis_com:user_model_calls_sum{monitored_resource=\"cloud_run_revision\"}[5m]))" } },
      { title = "Planner: tokens an hour", queries = { "in" = "sum(increase(logging_googleapis_com:user_model_tokens_in_sum{monitored_resource=\"cloud_run_revision\"}[1h]))", "out" = "sum(increase(logging_googleapis_com:user_model_tokens_out_sum{monitored_resource=\"cloud_run_revision\"}[1h]))" } },
      { title = "Planner: latency p95, s", queries = { "{{service_name}}" = "histogram_quantile(0.95, sum by (le, service_name) (rate(${format(local.wait, ",service_name=~\"${join("|", local.plan_functions)}\"")}[5m]))) / 1000" } },
    ]
  }
  dashboard_titles = { service = "LiftLog: services", behind = "LiftLog: database, chat, planner" }
  most_widgets     = 50 # the API's limit for one dashboard
}

resource "google_monitoring_dashboard" "dashboard" {
  for_each = local.charts

  dashboard_json = jsonencode({
    displayName = local.dashboard_titles[each.key]
    mosaicLayout = {
      columns = 48
      tiles = [for i, chart in each.value : {
        xPos   = 16 * (i % 3)
        yPos   = 12 * floor(i / 3)
        width  = 16
        height = 12
        widget = {
          title = chart.title
          xyChart = {
            dataSets = [for legend, query in chart.queries : {
              legendTemplate  = legend
              plotType        = "LINE"
              timeSeriesQuery = { prometheusQuery = query }
            }]
          }
        }
      }]
    }
  })

  lifecycle {
    precondition {
      condition     = length(each.value) <= local.most_widgets
      error_message = "The dashboard ${each.key} would have ${length(each.value)} widgets, and the API takes ${local.most_widgets}: move some to another one."
    }
  }

  depends_on = [google_project_service.api]
}
