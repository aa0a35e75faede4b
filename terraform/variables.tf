variable "armor_adaptive" {
  description = "Whether Cloud Armor learns what traffic is usual and reports what is not. Alerts in full need Cloud Armor Enterprise."
  type        = bool
  default     = false
  nullable    = false
}

variable "armor_blocked_regions" {
  description = "Countries that get 403, as ISO 3166-1 alpha-2 codes. Empty: nobody is kept out for where they are."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for region in var.armor_blocked_regions : can(regex("^[A-Z]{2}$", region))])
    error_message = "armor_blocked_regions holds something that is no country's code of two capital letters."
  }
}

variable "armor_preview" {
  description = "Whether Cloud Armor only counts what it would refuse. For the first weeks of an environment, and to judge new numbers."
  type        = bool
  default     = true
  nullable    = false
}

variable "armor_requests_per_minute" {
  description = <<-EOT
    Requests a minute that one address may send to one service; what is above is 429. The app sends about ten when it is
    opened, and behind one address of a mobile carrier or a gym are many phones: 600 is sixty of them in the same minute.
    Counters are approximate and per region: exact limits are the service's own.
  EOT
  type        = number
  default     = 600
  nullable    = false

  validation {
    condition     = var.armor_requests_per_minute >= 60 && var.armor_requests_per_minute <= 10000
    error_message = "armor_requests_per_minute is not from 60 to 10000: below, phones that share an address lock each other out."
  }
}

variable "armor_strict_requests_per_minute" {
  description = <<-EOT
    The same for what anybody may write without proof: new accounts and messages to inboxes. A phone makes one account in
    its life and sends a message for each person it follows: 60 leaves room for a class that installs the app together.
  EOT
  type        = number
  default     = 60
  nullable    = false

  validation {
    condition     = var.armor_strict_requests_per_minute >= 10 && var.armor_strict_requests_per_minute <= var.armor_requests_per_minute
    error_message = "armor_strict_requests_per_minute is not from 10 to armor_requests_per_minute."
  }
}

variable "billing_account" {
  description = "The billing account that the budget watches, as XXXXXX-XXXXXX-XXXXXX. Null: there is no budget alert."
  type        = string
  default     = null

  validation {
    condition     = var.billing_account == null || can(regex("^[0-9A-F]{6}-[0-9A-F]{6}-[0-9A-F]{6}$", var.billing_account))
    error_message = "billing_account is not of the form XXXXXX-XXXXXX-XXXXXX: `gcloud billing accounts list` shows yours."
  }
}

variable "build_repository" {
  description = <<-EOT
    The repository that Cloud Build is connected to (projects/P/locations/L/connections/C/repositories/R). The connection
    is made by hand once. Null: nothing is built for pull requests.
  EOT
  type        = string
  default     = null

  validation {
    condition     = var.build_repository == null || can(regex("^projects/[^/]+/locations/[^/]+/connections/[^/]+/repositories/[^/]+$", var.build_repository))
    error_message = "build_repository is not of the form projects/P/locations/L/connections/C/repositories/R: `gcloud builds repositories list` shows yours."
  }
}

variable "chat_on_v2" {
  description = <<-EOT
    Whether both hubs of the chat are ours on v1's paths. There is no share of it: a connection is two requests, v1 keeps
    its connection tokens in memory, and weights ignore affinity. Below /v2 the hubs are always ours.
  EOT
  type        = bool
  default     = false
  nullable    = false
}

variable "database" {
  description = <<-EOT
    The PostgreSQL instance that is made where existing_instance names none. max_connections is set as a flag, so that plan
    and instance agree; it has to fit the tier's memory (about 100 up to 3.75 GB, 400 from 7.5 GB). The name of a deleted
    instance stays taken for a week.
  EOT
  type = object({
    name              = optional(string, "liftlog")
    version           = optional(string, "POSTGRES_15")
    edition           = optional(string, "ENTERPRISE")
    tier              = string
    disk_gb           = optional(number, 10)
    max_connections   = number
    high_availability = bool
  })
  nullable = false

  validation {
    condition     = var.database.max_connections >= 25 && var.database.max_connections <= 1000 && floor(var.database.max_connections) == var.database.max_connections
    error_message = "database.max_connections is not a whole number from 25 to 1000."
  }

  validation {
    condition     = contains(["ENTERPRISE", "ENTERPRISE_PLUS"], var.database.edition)
    error_message = "database.edition is not ENTERPRISE or ENTERPRISE_PLUS."
  }
}

variable "deletion_protection" {
  description = "Whether services, jobs, secrets and the database refuse to be destroyed. To destroy an environment, apply false first."
  type        = bool
  default     = true
  nullable    = false
}

variable "environment" {
  description = "What the programs are told as ENVIRONMENT. Nothing here depends on it: environments differ by their other variables."
  type        = string
  nullable    = false

  validation {
    condition     = contains(["development", "staging", "production"], var.environment)
    error_message = "environment is not development, staging or production."
  }
}

variable "existing_instance" {
  description = <<-EOT
    v1's Cloud SQL instance, as project:region:instance: both versions then work on one database. Terraform makes users in
    it and leaves its settings to its owner. Null: an instance is made, and v1's data is moved into it before anything else.
  EOT
  type        = string
  default     = null

  validation {
    condition     = var.existing_instance == null || can(regex("^[a-z0-9.:-]+:[a-z0-9-]+:[a-z0-9-]+$", var.existing_instance))
    error_message = "existing_instance is not of the form project:region:instance."
  }
}

variable "host" {
  description = "The domain of the API, such as api.liftlog.com."
  type        = string
  nullable    = false

  validation {
    condition     = length(var.host) <= 253 && can(regex("^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\\.)+[a-z]{2,63}$", var.host))
    error_message = "host is not a domain in lower case without scheme, port or path, such as api.liftlog.com."
  }
}

variable "images" {
  description = <<-EOT
    The container images by digest: server is that of all functions, the others have the names that programs.json gives them.
    They count when a service or a job is made; later ones are the pipeline's.
  EOT
  type        = map(string)
  nullable    = false

  validation {
    condition     = length(setsubtract(local.wanted_images, keys(var.images))) == 0
    error_message = "images lacks ${join(", ", setsubtract(local.wanted_images, keys(var.images)))}: give each as HOST/PATH@sha256:DIGEST."
  }

  validation {
    condition = alltrue([
      for image in values(var.images) : can(regex("^[a-z0-9][a-z0-9.-]*(:[0-9]+)?(/[a-z0-9._-]+)+@sha256:[0-9a-f]{64}$", image))
    ])
    error_message = "images holds a reference that is not HOST/PATH@sha256:DIGEST. Tags move, so they are not taken: `gcloud artifacts docker images describe REFERENCE` shows the digest."
  }
}

variable "manifest" {
  description = "The list of functions. Tests give other ones."
  type        = string
  default     = "../functions/routes.json"
  nullable    = false
}

variable "max_instances" {
  description = "The most instances of any service, whatever the manifest says: 1 keeps a development environment within a small database."
  type        = number
  default     = 10
  nullable    = false

  validation {
    condition     = var.max_instances >= 1 && var.max_instances <= 10 && floor(var.max_instances) == var.max_instances
    error_message = "max_instances is not a whole number from 1 to 10."
  }
}

variable "monthly_budget" {
  description = "What the project may cost in a month before somebody is told, in whole units of the currency."
  type = object({
    amount   = number
    currency = optional(string, "USD")
  })
  nullable = false

  validation {
    condition     = var.monthly_budget.amount >= 1 && floor(var.monthly_budget.amount) == var.monthly_budget.amount
    error_message = "monthly_budget.amount is not a whole number from 1."
  }
}

variable "notification_channels" {
  description = "Channels that exist already, as projects/P/notificationChannels/N: Slack's, whose authorization only the console gives."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for channel in var.notification_channels : can(regex("^projects/[^/]+/notificationChannels/[0-9]+$", channel))])
    error_message = "notification_channels holds something that is not projects/P/notificationChannels/N: `gcloud beta monitoring channels list` shows yours."
  }
}

variable "notification_emails" {
  description = "Addresses that get the alerts."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for address in var.notification_emails : can(regex("^[^@ ]+@[^@ ]+\\.[^@ ]+$", address))])
    error_message = "notification_emails holds something that is no address."
  }
}

variable "notifications_required" {
  description = "Whether it is an error that nobody is told of alerts."
  type        = bool
  default     = true
  nullable    = false

  validation {
    condition     = !var.notifications_required || length(var.notification_emails) + length(var.notification_channels) > 0
    error_message = "Nobody would be told of alerts: fill notification_emails or notification_channels, or set notifications_required to false where nobody is served."
  }
}

variable "project" {
  description = "The Google Cloud project, one for each environment."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project))
    error_message = "project is not the id of a project: 6 to 30 lower-case letters, digits and hyphens."
  }
}

variable "region" {
  description = "Where services and database are."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+$", var.region))
    error_message = "region is not a region such as europe-west1."
  }
}

variable "registry" {
  description = "The one Artifact Registry of all environments, which holds the images. It is made by hand once, before the first image."
  type = object({
    project    = string
    location   = string
    repository = optional(string, "liftlog")
  })
  nullable = false
}

variable "release_trigger" {
  description = <<-EOT
    Which file of Cloud Build brings each commit of a branch (a regular expression) here, and whether somebody has to approve
    that first. Null: nothing comes here by itself.
  EOT
  type = object({
    approval = bool
    branch   = optional(string, "^main$")
    file     = string
  })
  default = null

  validation {
    condition     = var.release_trigger == null || contains(["cloudbuild.yaml", "cloudbuild.production.yaml"], try(var.release_trigger.file, ""))
    error_message = "release_trigger.file is neither cloudbuild.yaml, which ends at staging, nor cloudbuild.production.yaml."
  }
}

variable "secret_versions" {
  description = <<-EOT
    The version of each secret that is in use: a number, or latest. A secret that is not here is not given to any program:
    the optional ones are switched on by naming them, once `scripts/secrets` has shown that they have a version, because an
    empty one keeps a revision from starting.
  EOT
  type        = map(string)
  nullable    = false

  validation {
    condition     = alltrue([for version in values(var.secret_versions) : can(regex("^([1-9][0-9]*|latest)$", version))])
    error_message = "secret_versions holds something that is neither a version's number nor latest."
  }
}

variable "settings" {
  description = "Variables of the programs beside those that Terraform gives them, such as OPENAI_MODEL: the configuration table of the project's README."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = length(setsubtract(keys(var.settings), local.known_settings)) == 0
    error_message = "settings holds ${join(", ", setsubtract(keys(var.settings), local.known_settings))}, which no program reads, or which Terraform sets by itself. Known are: ${join(", ", local.known_settings)}."
  }
}

variable "state_bucket" {
  description = "The bucket of Terraform's state, to which the pipeline's account gets access."
  type        = string
  nullable    = false
}

variable "subnet" {
  description = "Addresses of the services, at least /24: twice as many as instances. Not 192.168.1.0/24, which Cloud Run cannot reach."
  type        = string
  default     = "10.8.0.0/23"
  nullable    = false

  validation {
    condition     = can(cidrnetmask(var.subnet)) && try(tonumber(split("/", var.subnet)[1]) <= 24, false)
    error_message = "subnet is not a range of addresses of at least /24, such as 10.8.0.0/23."
  }
}

variable "url_map_tests" {
  description = "Whether the load balancer's own tests refuse a map that leads elsewhere. Off until it is known whether they see the method of a request."
  type        = bool
  default     = false
  nullable    = false
}

variable "v1" {
  description = <<-EOT
    The v1 backend: a Cloud Run service of this project and region, or a host on the internet; the connections that its own
    pool may take (Npgsql: 100 an instance); and its login to the database, which owns v1's tables. Null: there is none, and
    everything is ours.
  EOT
  type = object({
    cloud_run   = optional(string)
    host        = optional(string)
    connections = optional(number, 100)
    login       = optional(string)
  })
  default = null

  validation {
    condition     = var.v1 == null || (try(var.v1.cloud_run, null) == null) != (try(var.v1.host, null) == null)
    error_message = "v1 has to be one of two kinds: give cloud_run or host, and not both."
  }

  validation {
    condition     = try(var.v1.host, null) == null || can(regex("^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\\.)+[a-z]{2,63}$", var.v1.host))
    error_message = "v1.host is not a domain without scheme, port or path."
  }
}

variable "v2_weight" {
  description = <<-EOT
    How many of a hundred requests on v1's own paths are ours, reads and writes apart. Moved by Terraform alone, and never
    while a release is being tried on a part of the traffic. Without v1 it means nothing.
  EOT
  type = object({
    reads  = number
    writes = number
  })
  default = {
    reads  = 0
    writes = 0
  }
  nullable = false

  validation {
    condition     = alltrue([for weight in values(var.v2_weight) : weight >= 0 && weight <= 100 && floor(weight) == weight])
    error_message = "v2_weight is not made of whole numbers from 0 to 100."
  }
}
