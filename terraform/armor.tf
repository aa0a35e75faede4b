# Against floods. Exact limits are the services' own: these count by region and approximately.
locals {
  armor_policies = {
    usual  = { description = "In front of every service.", requests = var.armor_requests_per_minute }
    strict = { description = "In front of what anybody may write without proof.", requests = var.armor_strict_requests_per_minute }
  }
}

resource "google_compute_security_policy" "policy" {
  for_each = local.armor_policies

  name        = "liftlog-${each.key}"
  description = each.value.description
  type        = "CLOUD_ARMOR"

  adaptive_protection_config {
    layer_7_ddos_defense_config {
      enable = var.armor_adaptive
    }
  }

  dynamic "rule" {
    for_each = length(var.armor_blocked_regions) == 0 ? [] : [var.armor_blocked_regions]
    content {
      priority    = 100
      action      = "deny(403)"
      preview     = var.armor_preview
      description = "Countries that are kept out."

      match {
        expr {
          expression = "'${join(",", rule.value)}'.contains(origin.region_code)"
        }
      }
    }
  }

  rule {
    priority    = 1000
    action      = "throttle"
    preview     = var.armor_preview
    description = "${each.value.requests} requests a minute from one address."

    match {
      versioned_expr = "SRC_IPS_V1"
      config {
        src_ip_ranges = ["*"]
      }
    }

    rate_limit_options {
      conform_action = "allow"
      exceed_action  = "deny(429)"
      enforce_on_key = "IP" # by default all callers share one count

      rate_limit_threshold {
        count        = each.value.requests
        interval_sec = 60
      }
    }
  }

  rule {
    priority    = 2147483647
    action      = "allow"
    preview     = false
    description = "Everybody else."

    match {
      versioned_expr = "SRC_IPS_V1"
      config {
        src_ip_ranges = ["*"]
      }
    }
  }

  depends_on = [google_project_service.api]
}
