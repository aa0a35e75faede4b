output "backend" {
  description = "The backend service's id, spelled out so that a plan shows where the rules of a new environment lead."
  value       = "projects/${var.project}/global/backendServices/${google_compute_backend_service.service.name}"
}

output "email" {
  description = "The account's address."
  value       = module.program.email
}

output "login" {
  description = "The login's name in PostgreSQL."
  value       = module.program.login
}
