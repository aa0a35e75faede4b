resource "google_compute_global_address" "main" {
  name = "liftlog"

  depends_on = [google_project_service.api]
}

# The certificate is proved by a record in the domain, so that it is ready before the domain points here.
resource "google_certificate_manager_dns_authorization" "main" {
  name   = "liftlog"
  domain = var.host

  depends_on = [google_project_service.api]
}

resource "google_certificate_manager_certificate" "main" {
  name = "liftlog-${substr(sha256(var.host), 0, 8)}"

  managed {
    domains            = [var.host]
    dns_authorizations = [google_certificate_manager_dns_authorization.main.id]
  }

  lifecycle {
    create_before_destroy = true
  }
}

resource "google_certificate_manager_certificate_map" "main" {
  name = "liftlog"

  depends_on = [google_project_service.api]
}

resource "google_certificate_manager_certificate_map_entry" "main" {
  name         = "liftlog"
  map          = google_certificate_manager_certificate_map.main.name
  certificates = [google_certificate_manager_certificate.main.id]
  matcher      = "PRIMARY"
}

resource "google_compute_ssl_policy" "main" {
  name            = "liftlog"
  profile         = "MODERN"
  min_tls_version = "TLS_1_2"

  depends_on = [google_project_service.api]
}

resource "google_compute_target_https_proxy" "main" {
  name            = "liftlog"
  url_map         = google_compute_url_map.main.id
  certificate_map = "//certificatemanager.googleapis.com/${google_certificate_manager_certificate_map.main.id}"
  ssl_policy      = google_compute_ssl_policy.main.id
}

resource "google_compute_global_forwarding_rule" "https" {
  name                  = "liftlog-https"
  load_balancing_scheme = "EXTERNAL_MANAGED"
  ip_address            = google_compute_global_address.main.id
  port_range            = "443"
  target                = google_compute_target_https_proxy.main.id
}

# Port 80 only redirects to https. 308 keeps the method.
resource "google_compute_url_map" "redirect" {
  name = "liftlog-redirect"

  default_url_redirect {
    https_redirect         = true
    redirect_response_code = "PERMANENT_REDIRECT"
    strip_query            = false
  }

  depends_on = [google_project_service.api]
}

resource "google_compute_target_http_proxy" "redirect" {
  name    = "liftlog-redirect"
  url_map = google_compute_url_map.redirect.id
}

resource "google_compute_global_forwarding_rule" "http" {
  name                  = "liftlog-http"
  load_balancing_scheme = "EXTERNAL_MANAGED"
  ip_address            = google_compute_global_address.main.id
  port_range            = "80"
  target                = google_compute_target_http_proxy.redirect.id
}

# v1, while it serves.
resource "google_compute_region_network_endpoint_group" "v1" {
  count = try(var.v1.cloud_run, null) == null ? 0 : 1

  name                  = "v1-${substr(sha256("${var.region}/${var.v1.cloud_run}"), 0, 8)}"
  region                = var.region
  network_endpoint_type = "SERVERLESS"

  cloud_run {
    service = var.v1.cloud_run
  }

  lifecycle {
    create_before_destroy = true
  }
}

resource "google_compute_global_network_endpoint_group" "v1" {
  count = try(var.v1.host, null) == null ? 0 : 1

  name                  = "v1-${substr(sha256(var.v1.host), 0, 8)}"
  network_endpoint_type = "INTERNET_FQDN_PORT"

  lifecycle {
    create_before_destroy = true
  }

  depends_on = [google_project_service.api]
}

resource "google_compute_global_network_endpoint" "v1" {
  count = try(var.v1.host, null) == null ? 0 : 1

  global_network_endpoint_group = google_compute_global_network_endpoint_group.v1[0].name
  fqdn                          = var.v1.host
  port                          = 443
}

resource "google_compute_backend_service" "v1" {
  count = var.v1 == null ? 0 : 1

  name                  = "v1"
  load_balancing_scheme = "EXTERNAL_MANAGED"
  protocol              = "HTTPS"
  security_policy       = google_compute_security_policy.policy["usual"].id
  # A host on the internet expects its own name as Host.
  custom_request_headers = try(var.v1.host, null) == null ? null : ["Host: ${var.v1.host}"]

  backend {
    group = try(google_compute_region_network_endpoint_group.v1[0].id, google_compute_global_network_endpoint_group.v1[0].id)
  }

  log_config {
    enable      = true
    sample_rate = 1
  }

  lifecycle {
    create_before_destroy = true # the map lets go of it first
  }
}
