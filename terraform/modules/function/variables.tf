variable "always_on" {
  description = "Whether an instance has its CPU between requests as well and keeps its callers: for connections that last."
  type        = bool
  default     = false
}

variable "concurrency" {
  description = "Requests at a time in one instance, 1 to 1000."
  type        = number
}

variable "cpu" {
  description = "CPUs of an instance."
  type        = string
}

variable "database" {
  description = "As in modules/program. Null: the service needs none, and no way into the network."
  type = object({
    connection_name = string
    instance        = string
    names           = map(string)
    project         = string
  })
}

variable "deletion_protection" {
  description = "Whether the service refuses to be destroyed."
  type        = bool
}

variable "image" {
  description = "The image by digest that the service is made with. Later ones are the pipeline's."
  type        = string
}

variable "max_instances" {
  description = "The most instances of all revisions together."
  type        = number
}

variable "memory" {
  description = "Memory of an instance, in Mi."
  type        = string
}

variable "min_instances" {
  description = "Instances that are kept though nobody asks."
  type        = number
}

variable "name" {
  description = "The service's name, at most 24 characters."
  type        = string
}

variable "project" {
  description = "The project of service and account."
  type        = string
}

variable "region" {
  description = "Where the service is."
  type        = string
}

variable "secrets" {
  description = "By environment variable: the secret's id and version."
  type        = map(object({ id = string, version = string }))
}

variable "security_policy" {
  description = "The Cloud Armor policy in front of the service."
  type        = string
}

variable "subnetwork" {
  description = "Where the service's addresses are."
  type        = string
}

variable "summary" {
  description = "What the service does, in a sentence."
  type        = string
}

variable "timeout_s" {
  description = "The platform's limit for one request, in seconds."
  type        = number
}

variable "variables" {
  description = "Environment variables beside those of the database."
  type        = map(string)
}
