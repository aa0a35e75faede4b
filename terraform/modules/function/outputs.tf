output "backend" {
  description = "The backend service's id."
  value       = google_compute_backend_service.service.id
}

output "email" {
  description = "The account's address."
  value       = module.program.email
}

output "login" {
  description = "The login's name in PostgreSQL."
  value       = module.program.login
}
