# A program's account, the secrets that the account may read, and its login to the database.
resource "google_service_account" "account" {
  account_id   = "run-${var.name}"
  display_name = var.summary
}

resource "google_secret_manager_secret_iam_member" "reader" {
  for_each = var.secrets

  secret_id = each.value.id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.account.member
}

resource "google_project_iam_member" "database" {
  for_each = var.database == null ? toset([]) : toset(["roles/cloudsql.client", "roles/cloudsql.instanceUser"])

  project = var.database.project
  role    = each.key
  member  = google_service_account.account.member
}

resource "google_sql_user" "login" {
  count = var.database == null ? 0 : 1

  name            = local.login
  instance        = var.database.instance
  project         = var.database.project
  type            = "CLOUD_IAM_SERVICE_ACCOUNT"
  database_roles  = length(var.database_roles) == 0 ? null : var.database_roles
  deletion_policy = "ABANDON" # PostgreSQL refuses to drop a login that owns or may do anything

  depends_on = [google_service_account.account]
}

locals {
  # As Cloud SQL names the login of an account: its address without the end that all have.
  login = "run-${var.name}@${var.project}.iam"

  urls = var.database == null ? {} : {
    for name, database in var.database.names : name => "postgres://${urlencode(local.login)}@localhost/${database}?sslmode=disable"
  }

  # The connector's own TLS is below, hence sslmode=disable; the host is the connector's, too.
  variables = merge(
    var.variables,
    var.database == null ? {} : { CLOUD_SQL_INSTANCE = var.database.connection_name },
    contains(keys(local.urls), "user") ? { DATABASE_URL = local.urls["user"] } : {},
    contains(keys(local.urls), "ratelimit") ? { RATE_LIMIT_DATABASE_URL = local.urls["ratelimit"] } : {},
  )
}
