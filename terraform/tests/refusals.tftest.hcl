# What is wrong is refused while planning, with a sentence that says what to do.
mock_provider "google" {}

run "values_out_of_their_range" {
  command = plan
  variables {
    armor_blocked_regions     = ["Atlantis"]
    armor_requests_per_minute = 59 # fewer, and phones that share an address lock each other out
    billing_account           = "mine"
    build_repository          = "github.com/liftlog"
    database                  = { tier = "db-custom-2-7680", max_connections = 5000, high_availability = true }
    environment               = "prod"
    existing_instance         = "liftlog"
    host                      = "https://api.liftlog.com"
    images = {
      server  = "europe-west1-docker.pkg.dev/liftlog-images/liftlog/server:latest"
      chat    = "europe-west1-docker.pkg.dev/liftlog-images/liftlog/chat@sha256:2222222222222222222222222222222222222222222222222222222222222222"
      cleanup = "europe-west1-docker.pkg.dev/liftlog-images/liftlog/cleanup@sha256:3333333333333333333333333333333333333333333333333333333333333333"
      migrate = "europe-west1-docker.pkg.dev/liftlog-images/liftlog/migrate@sha256:4444444444444444444444444444444444444444444444444444444444444444"
    }
    max_instances         = 0
    monthly_budget        = { amount = 0 }
    notification_channels = ["#alerts"]
    notification_emails   = ["nobody"]
    project               = "X"
    region                = "Europe"
    release_trigger       = { file = "cloudbuild.pull-request.yaml", approval = false }
    secret_versions       = { CHAT_TOKEN_KEY = "latest", OPENAI_API_KEY = "first", CREDENTIAL_KEY = "2" }
    settings              = { DATABASE_URL = "postgres://elsewhere" } # Terraform's
    subnet                = "10.8.0.0/26"
    v1                    = { cloud_run = "v1", host = "v1.liftlog.com" }
    v2_weight             = { reads = 101, writes = 0 }
  }
  expect_failures = [
    var.armor_blocked_regions, var.armor_requests_per_minute, var.billing_account, var.build_repository, var.database, var.environment,
    var.existing_instance, var.host, var.images, var.max_instances, var.monthly_budget, var.notification_channels, var.notification_emails,
    var.project, var.region, var.release_trigger, var.secret_versions, var.settings, var.subnet, var.v1, var.v2_weight,
  ]
}

run "values_out_of_their_range_on_the_other_side" {
  command = plan
  variables {
    armor_strict_requests_per_minute = 9
    database                         = { tier = "db-custom-2-7680", max_connections = 400, high_availability = true, edition = "FREE" }
    host                             = "localhost"
    images = {
      server  = "europe-west1-docker.pkg.dev/liftlog-images/liftlog/server"
      chat    = "europe-west1-docker.pkg.dev/liftlog-images/liftlog/chat@sha256:2222222222222222222222222222222222222222222222222222222222222222"
      cleanup = "europe-west1-docker.pkg.dev/liftlog-images/liftlog/cleanup@sha256:3333333333333333333333333333333333333333333333333333333333333333"
      migrate = "europe-west1-docker.pkg.dev/liftlog-images/liftlog/migrate@sha256:4444444444444444444444444444444444444444444444444444444444444444"
    }
    max_instances          = 11
    notification_channels  = []
    notification_emails    = []
    notifications_required = true
    settings               = { OPENAI_MODLE = "gpt-4o" }
    v1                     = { connections = 10 } # of no kind
    v2_weight              = { reads = 0, writes = 2.5 }
  }
  expect_failures = [
    var.armor_strict_requests_per_minute, var.database, var.host, var.images, var.max_instances, var.notifications_required, var.settings, var.v1,
    var.v2_weight,
  ]
}

run "a_strict_policy_that_is_not" {
  command = plan
  variables {
    armor_requests_per_minute        = 60
    armor_strict_requests_per_minute = 61
    host                             = "API.liftlog.com"
    v1                               = { host = "https://v1.liftlog.com" }
    v2_weight                        = { reads = -1, writes = 0 }
  }
  expect_failures = [var.armor_strict_requests_per_minute, var.host, var.v1, var.v2_weight]
}

run "more_connections_than_the_database_has_and_a_chat_that_probes_cannot_reach" {
  command = plan
  variables {
    v1       = { host = "v1.liftlog.com", connections = 140 }
    settings = { CHAT_MAX_CONNECTIONS = "1000" }
  }
  expect_failures = [terraform_data.connection_budget, terraform_data.chat]
}

run "a_secret_without_a_version_and_a_function_that_asks_for_an_undefined_one" {
  command = plan
  variables {
    manifest        = "tests/manifests/undefined_secret.json"
    secret_versions = { CHAT_TOKEN_KEY = "latest" } # OPENAI_API_KEY is needed, too
  }
  expect_failures = [terraform_data.manifest, terraform_data.secret_versions]
}

run "a_function_of_64_characters_and_a_version_of_an_unknown_secret" {
  command = plan
  variables {
    manifest        = "tests/manifests/long_name.json"
    secret_versions = { CHAT_TOKEN_KEY = "latest", OPENAI_API_KEY = "1", PASSWORD = "1" }
  }
  expect_failures = [terraform_data.manifest, terraform_data.secret_versions]
}

run "two_routes_of_one_path_and_method" {
  command = plan
  variables {
    manifest = "tests/manifests/two_of_one_route.json"
  }
  expect_failures = [terraform_data.manifest]
}

run "two_entries_of_one_function" {
  command = plan
  variables {
    manifest = "tests/manifests/two_of_one_name.json"
  }
  expect_failures = [terraform_data.manifest]
}

run "eleven_instances_of_a_function" {
  command = plan
  variables {
    manifest = "tests/manifests/eleven_instances.json"
  }
  expect_failures = [terraform_data.manifest]
}

run "v1s_instance_without_what_it_needs" {
  command = plan
  variables {
    existing_instance = "liftlog-old:europe-west1:v1"
  }
  override_data {
    target = data.google_sql_database_instance.existing[0]
    values = {
      settings = [{ database_flags = [{ name = "max_connections", value = "200" }], ip_configuration = [{ private_network = "" }] }]
    }
  }
  expect_failures = [data.google_sql_database_instance.existing[0]]
}

# What is right passes: a file that refuses everything would pass all of the above.
run "what_is_right" {
  command = plan
  variables {
    v1 = { host = "v1.liftlog.com", connections = 100 }
  }
}
