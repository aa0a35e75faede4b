output "address" {
  description = "Where the domain has to point, by an A record, once the certificate is active."
  value       = google_compute_global_address.main.address
}

output "certificate_record" {
  description = "The record that proves the domain to Certificate Manager. It stays, for renewals."
  value       = google_certificate_manager_dns_authorization.main.dns_resource_record
}

output "connections" {
  description = "How many connections to the database all instances together may open, by who opens them."
  value       = local.connections
}

output "jobs" {
  description = "The jobs' names."
  value       = { for name, job in google_cloud_run_v2_job.job : name => job.name }
}

output "logins" {
  description = "Each program's login to the database."
  value       = merge({ for name, f in module.function : name => f.login }, { chat-service = module.chat.login }, { for name, j in module.job : name => j.login })
}

output "services" {
  description = "Each function's service, and the chat's."
  value       = merge({ for name, f in local.functions : name => f.service }, { chat-service = "chat-service" })
}

output "traffic" {
  description = "How many of a hundred requests on v1's own paths are ours, and whether the chat is."
  value       = { reads = var.v2_weight.reads, writes = var.v2_weight.writes, chat = var.chat_on_v2 }
}
