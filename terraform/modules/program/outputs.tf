output "email" {
  description = "The account's address."
  value       = google_service_account.account.email
}

output "login" {
  description = "The login's name in PostgreSQL."
  value       = local.login
}

output "variables" {
  description = "All environment variables that are no secrets."
  value       = local.variables
}
