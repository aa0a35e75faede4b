# Secrets are defined here and filled by scripts/secrets: no value is ever in Terraform's state.
locals {
  secrets = {
    APPLE_SHARED_SECRET     = { optional = true, description = "the App Store's shared secret" }
    CHAT_TOKEN_KEY          = { optional = false, description = "our own keys, which sign connection tokens of the chat" }
    CREDENTIAL_KEY          = { optional = false, description = "our own keys, which make password tags" }
    GOOGLE_PLAY_CREDENTIALS = { optional = true, description = "a service account's key for Google Play" }
    OPENAI_API_KEY          = { optional = false, description = "the key of the model's service" }
    REVENUECAT_API_KEY      = { optional = true, description = "a secret key of RevenueCat, version 2" }
    WEB_AUTH_API_KEY        = { optional = true, description = "what the web app proves its purchase with" }
  }

  wanted_secrets    = toset(concat(flatten([for r in local.routes : r.secrets]), flatten([for p in values(local.programs) : p.secrets])))
  undefined_secrets = setsubtract(local.wanted_secrets, keys(local.secrets))
  missing_versions  = [for name, s in local.secrets : name if !s.optional && contains(local.wanted_secrets, name) && !contains(keys(var.secret_versions), name)]
  unknown_versions  = setsubtract(keys(var.secret_versions), keys(local.secrets))

  # What a program is given: the secrets of its entry that are switched on.
  secret_references = {
    for name, version in var.secret_versions : name => { id = google_secret_manager_secret.secret[name].secret_id, version = version }
    if contains(keys(local.secrets), name)
  }
}

resource "google_secret_manager_secret" "secret" {
  for_each = local.secrets

  secret_id           = each.key
  deletion_protection = var.deletion_protection

  annotations = { purpose = each.value.description }

  replication {
    auto {}
  }

  depends_on = [google_project_service.api]
}

resource "terraform_data" "secret_versions" {
  input = length(var.secret_versions)

  lifecycle {
    precondition {
      condition     = length(local.missing_versions) == 0
      error_message = "secret_versions lacks ${join(", ", local.missing_versions)}: a program that needs it would not start. Store a version with `scripts/secrets ENVIRONMENT set NAME` and add it as latest."
    }

    precondition {
      condition     = length(local.unknown_versions) == 0
      error_message = "secret_versions has ${join(", ", local.unknown_versions)}, which secrets.tf does not define."
    }
  }
}
