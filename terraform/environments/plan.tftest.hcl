# What environments_test.go and start_test.go look at, with an environment's variables.
mock_provider "google" {}

run "plan" {
  command = plan
}
