environment  = "production"
project      = "liftlog-production"
region       = "europe-west1"
host         = "api.liftlog.com"
state_bucket = "liftlog-terraform"
registry     = { project = "liftlog-images", location = "europe-west1" }

release_trigger = { file = "cloudbuild.production.yaml", approval = true }

database = {
  tier              = "db-custom-2-7680"
  disk_gb           = 20
  max_connections   = 400
  high_availability = true
}

v1        = { host = "v1.liftlog.com", connections = 100, login = "liftlog" }
v2_weight = { reads = 0, writes = 0 }

secret_versions = {
  APPLE_SHARED_SECRET     = "latest"
  CHAT_TOKEN_KEY          = "latest"
  CREDENTIAL_KEY          = "latest"
  GOOGLE_PLAY_CREDENTIALS = "latest"
  OPENAI_API_KEY          = "latest"
  WEB_AUTH_API_KEY        = "latest"
}

settings = {
  OPENAI_MODEL = "gpt-4o"
}

billing_account     = "000000-000000-000000"
monthly_budget      = { amount = 600 }
notification_emails = ["alerts@liftlog.com"]
