# Costs as little as it can: one instance of anything, a small database, nobody woken.
environment  = "development"
project      = "liftlog-dev"
region       = "europe-west1"
host         = "dev-api.liftlog.com"
state_bucket = "liftlog-terraform"
registry     = { project = "liftlog-images", location = "europe-west1" }

database = {
  tier              = "db-f1-micro"
  max_connections   = 100 # not the tier's own 25: all programs need 68 with one instance each
  high_availability = false
}
max_instances       = 1
deletion_protection = false

secret_versions = {
  CHAT_TOKEN_KEY = "latest"
  CREDENTIAL_KEY = "latest"
  OPENAI_API_KEY = "latest"
}

monthly_budget         = { amount = 120 }
notifications_required = false
