# The services reach the database over a private network. Where v1's instance is used, it is in that instance's network.
locals {
  network = var.existing_instance == null ? google_compute_network.main[0].id : data.google_sql_database_instance.existing[0].settings[0].ip_configuration[0].private_network
}

resource "google_compute_network" "main" {
  count = var.existing_instance == null ? 1 : 0

  name                    = "liftlog"
  auto_create_subnetworks = false

  depends_on = [google_project_service.api]
}

# Cloud Run keeps addresses for an hour or two after a service is gone: until then this cannot be destroyed.
resource "google_compute_subnetwork" "services" {
  name                     = "liftlog-services"
  network                  = local.network
  region                   = var.region
  ip_cidr_range            = var.subnet
  private_ip_google_access = true
}

resource "google_compute_global_address" "database" {
  count = var.existing_instance == null ? 1 : 0

  name          = "liftlog-database"
  purpose       = "VPC_PEERING"
  address_type  = "INTERNAL"
  prefix_length = 20
  network       = google_compute_network.main[0].id
}

resource "google_service_networking_connection" "database" {
  count = var.existing_instance == null ? 1 : 0

  network                 = google_compute_network.main[0].id
  service                 = "servicenetworking.googleapis.com"
  reserved_peering_ranges = [google_compute_global_address.database[0].name]
  deletion_policy         = "ABANDON" # the service refuses to be disconnected for days after an instance is gone

  depends_on = [google_project_service.api]
}
