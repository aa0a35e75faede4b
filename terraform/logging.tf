# Request logs of the platform and of the load balancer hold addresses and URLs, the chat's with a browser's token in them. An
# exclusion drops whole entries, it cannot cut a part out; metrics and the programs' own log lines stay.
locals {
  request_logs = "log_id(\"run.googleapis.com/requests\") OR (resource.type=\"http_load_balancer\" AND log_id(\"requests\"))"
}

resource "google_logging_project_exclusion" "requests" {
  name        = "request-logs"
  description = "Requests with addresses and URLs."
  filter      = local.request_logs

  depends_on = [google_project_service.api]
}

# What Cloud Armor refused is kept for a week, to judge its numbers and see attacks.
resource "google_logging_project_bucket_config" "denied" {
  project        = var.project
  location       = "global"
  bucket_id      = "denied-requests"
  description    = "Requests that Cloud Armor refused."
  retention_days = 7

  depends_on = [google_project_service.api]
}

resource "google_logging_project_sink" "denied" {
  name                   = "denied-requests"
  destination            = "logging.googleapis.com/${google_logging_project_bucket_config.denied.id}"
  filter                 = "resource.type=\"http_load_balancer\" AND log_id(\"requests\") AND jsonPayload.enforcedSecurityPolicy.outcome=\"DENY\""
  unique_writer_identity = true
}

# Metrics made of the programs' own log lines.
locals {
  program_lines = "resource.type=\"cloud_run_revision\" AND log_id(\"run.googleapis.com/stderr\")"
  log_metrics = {
    pool_waits = {
      description = "Requests during which a wait for a connection to the database ran out of time."
      filter      = "${local.program_lines} AND jsonPayload.pool.timedOut>0"
      value       = null
    }
    model_calls = {
      description = "Calls of the model in one request."
      filter      = "${local.program_lines} AND jsonPayload.model.calls>0"
      value       = "EXTRACT(jsonPayload.model.calls)"
    }
    model_tokens_in = {
      description = "Tokens that the model read in one request."
      filter      = "${local.program_lines} AND jsonPayload.model.calls>0"
      value       = "EXTRACT(jsonPayload.model.tokensIn)"
    }
    model_tokens_out = {
      description = "Tokens that the model wrote in one request."
      filter      = "${local.program_lines} AND jsonPayload.model.calls>0"
      value       = "EXTRACT(jsonPayload.model.tokensOut)"
    }
  }
}

resource "google_logging_metric" "metric" {
  for_each = local.log_metrics

  name            = each.key
  description     = each.value.description
  filter          = each.value.filter
  value_extractor = each.value.value
  label_extractors = {
    service = "EXTRACT(resource.labels.service_name)"
  }

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = each.value.value == null ? "INT64" : "DISTRIBUTION"

    labels {
      key        = "service"
      value_type = "STRING"
    }
  }

  depends_on = [google_project_service.api]
}
