variable "database" {
  description = "The instance, its project, its connection name and the names of the databases on it by their kind. Null: the program needs none."
  type = object({
    connection_name = string
    instance        = string
    names           = map(string)
    project         = string
  })
}

variable "database_roles" {
  description = "Roles that the login gets when it is made; the others come from jobs/migrate --grants."
  type        = list(string)
  default     = []
}

variable "name" {
  description = "The program's name, at most 24 characters: with a project's 30 it has to fit PostgreSQL's 63 for a login."
  type        = string
}

variable "project" {
  description = "The project of the account."
  type        = string
}

variable "secrets" {
  description = "By environment variable: the secret's id and version."
  type        = map(object({ id = string, version = string }))
}

variable "summary" {
  description = "What the program does, in a sentence."
  type        = string
}

variable "variables" {
  description = "Environment variables beside those of the database."
  type        = map(string)
}
