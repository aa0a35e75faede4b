# Who builds and deploys. Each environment has its own account; what strangers send is built under one that may deploy nothing.
resource "google_service_account" "pipeline" {
  account_id   = "pipeline"
  display_name = "Applies Terraform and deploys to this environment."
}

resource "google_service_account" "pull_requests" {
  account_id   = "pull-requests"
  display_name = "Builds and tests pull requests, and may deploy nothing."
}

# As Secret Manager's administrator, but for reading values.
resource "google_project_iam_custom_role" "secret_keeper" {
  role_id     = "liftlogSecretKeeper"
  title       = "Makes secrets without reading them"
  description = "Terraform's rights to Secret Manager: definitions and who reads them, and no values."
  permissions = [
    "secretmanager.secrets.create",
    "secretmanager.secrets.delete",
    "secretmanager.secrets.get",
    "secretmanager.secrets.getIamPolicy",
    "secretmanager.secrets.list",
    "secretmanager.secrets.setIamPolicy",
    "secretmanager.secrets.update",
    "secretmanager.versions.get",
    "secretmanager.versions.list",
  ]

  depends_on = [google_project_service.api]
}

resource "google_project_iam_member" "pipeline" {
  for_each = toset([
    "roles/certificatemanager.owner",
    "roles/cloudbuild.builds.editor",
    "roles/cloudscheduler.admin",
    "roles/cloudsql.admin",
    "roles/compute.admin",
    "roles/iam.roleAdmin",
    "roles/iam.serviceAccountAdmin",
    "roles/iam.serviceAccountUser",
    "roles/logging.admin",
    "roles/monitoring.admin",
    "roles/ondemandscanning.admin",
    "roles/resourcemanager.projectIamAdmin",
    "roles/run.admin",
    "roles/servicenetworking.networksAdmin",
    "roles/serviceusage.serviceUsageAdmin",
  ])

  project = var.project
  role    = each.key
  member  = google_service_account.pipeline.member
}

resource "google_project_iam_member" "pipeline_secrets" {
  project = var.project
  role    = google_project_iam_custom_role.secret_keeper.id
  member  = google_service_account.pipeline.member
}

resource "google_storage_bucket_iam_member" "state" {
  bucket = var.state_bucket
  role   = "roles/storage.objectAdmin"
  member = google_service_account.pipeline.member
}

resource "google_project_iam_member" "pull_requests" {
  project = var.project
  role    = "roles/logging.logWriter"
  member  = google_service_account.pull_requests.member
}

resource "google_artifact_registry_repository_iam_member" "pipeline" {
  project    = var.registry.project
  location   = var.registry.location
  repository = var.registry.repository
  role       = "roles/artifactregistry.writer"
  member     = google_service_account.pipeline.member
}

# The platform's own account fetches the images of services and jobs.
resource "google_artifact_registry_repository_iam_member" "platform" {
  project    = var.registry.project
  location   = var.registry.location
  repository = var.registry.repository
  role       = "roles/artifactregistry.reader"
  member     = "serviceAccount:service-${data.google_project.current.number}@serverless-robot-prod.iam.gserviceaccount.com"
}

resource "google_cloudbuild_trigger" "pull_requests" {
  count = var.build_repository == null ? 0 : 1

  name            = "pull-requests"
  description     = "Checks and tests; a stranger's only after somebody who may write has said /gcbrun."
  location        = var.region
  service_account = google_service_account.pull_requests.id
  filename        = "cloudbuild.pull-request.yaml"

  repository_event_config {
    repository = var.build_repository
    pull_request {
      branch          = ".*"
      comment_control = "COMMENTS_ENABLED_FOR_EXTERNAL_CONTRIBUTORS_ONLY"
    }
  }

  depends_on = [google_project_service.api]
}

# Begins a release with each commit of the branch. What its file of Cloud Build does not declare, it must not be given.
resource "google_cloudbuild_trigger" "release" {
  count = var.build_repository == null || var.release_trigger == null ? 0 : 1

  name            = "release"
  description     = "Brings a commit to ${var.environment}."
  location        = var.region
  service_account = google_service_account.pipeline.id
  filename        = var.release_trigger.file

  repository_event_config {
    repository = var.build_repository
    push {
      branch = var.release_trigger.branch
    }
  }

  approval_config {
    approval_required = var.release_trigger.approval
  }

  substitutions = {
    _STATE_BUCKET = var.state_bucket
    _URL          = "https://${var.host}"
  }

  depends_on = [google_project_service.api]
}
