# As production in everything but its size, and without v1's users.
environment  = "staging"
project      = "liftlog-staging"
region       = "europe-west1"
host         = "staging-api.liftlog.com"
state_bucket = "liftlog-terraform"
registry     = { project = "liftlog-images", location = "europe-west1" }

release_trigger = { file = "cloudbuild.yaml", approval = false }

database = {
  tier              = "db-custom-1-3840"
  max_connections   = 200
  high_availability = false
}
max_instances = 2

v1        = { host = "staging-v1.liftlog.com", connections = 20, login = "liftlog" }
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
monthly_budget      = { amount = 200 }
notification_emails = ["alerts@liftlog.com"]
