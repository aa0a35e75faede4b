# What is served, and how each program is sized: functions/routes.json and functions/manifest/programs.json.
locals {
  routes   = jsondecode(file("${path.module}/${var.manifest}"))
  programs = { for p in jsondecode(file("${path.module}/../functions/manifest/programs.json")) : p.program => p }

  wanted_images = concat(["server"], [for p in values(local.programs) : p.image])

  # By function. Of two with one name the first counts, until the precondition below has said so.
  functions = {
    for name, same in { for r in local.routes : r.function => r... } : name => merge(same[0], {
      service       = lower(replace(name, "/([a-z])([A-Z])/", "$1-$2"))
      min_instances = min(try(same[0].min_instances, 0), var.max_instances)
      max_instances = min(try(same[0].max_instances, 10), var.max_instances)
      writes        = try(same[0].writes, true)
    })
  }

  chat = merge(local.programs["chat-service"], {
    min_instances = min(local.programs["chat-service"].min_instances, var.max_instances)
    max_instances = min(local.programs["chat-service"].max_instances, var.max_instances)
  })

  repeated_routes = [for key, same in { for r in local.routes : "${r.method} ${r.path}" => r.function... } : key if length(same) > 1]
}

resource "terraform_data" "manifest" {
  input = length(local.routes)

  lifecycle {
    precondition {
      condition     = length(local.functions) == length(local.routes)
      error_message = "The manifest has two entries of one function: give each its own name."
    }

    precondition {
      condition     = length(local.repeated_routes) == 0
      error_message = "The manifest has two functions for ${join(", ", local.repeated_routes)}: remove one, or give it another path."
    }

    precondition {
      condition     = alltrue([for f in values(local.functions) : length(f.service) <= 24])
      error_message = "The manifest has a function whose name is too long for its account and login (24 characters with a hyphen between words): ${join(", ", [for f in values(local.functions) : f.service if length(f.service) > 24])}. Shorten it."
    }

    precondition {
      condition     = alltrue([for r in local.routes : contains(["GET", "POST", "PUT", "DELETE"], r.method) && can(regex("^(/v2)?(/[a-z-]+)+(/\\{[a-zA-Z]+\\})?$", r.path))])
      error_message = "The manifest has a route whose method is unknown, or whose path is not /v2/word/{variable}."
    }

    precondition {
      condition     = alltrue([for r in local.routes : try(r.max_instances, 10) >= 1 && try(r.max_instances, 10) <= 10 && try(r.min_instances, 0) <= try(r.max_instances, 10)])
      error_message = "The manifest has a function with max_instances outside 1 to 10, or with more min_instances than that."
    }

    precondition {
      condition     = length(local.undefined_secrets) == 0
      error_message = "The manifest asks for secrets that secrets.tf does not define: ${join(", ", local.undefined_secrets)}."
    }

    precondition {
      condition     = contains(keys(local.functions), "Health")
      error_message = "The manifest has no function Health, which answers for all paths that nobody serves."
    }
  }
}

# What the database has to bear when every service has as many instances as it may.
locals {
  connections = {
    functions = sum([for f in values(local.functions) : f.max_instances * f.pool * length(f.databases)])
    chat      = local.chat.max_instances * local.chat.pool * length(local.chat.databases)
    jobs      = sum([for job in values(local.jobs) : job.pool * length(job.databases)])
    v1        = var.v1 == null ? 0 : var.v1.connections
    people    = 10
  }
  connections_sum = sum(values(local.connections))
}

resource "terraform_data" "connection_budget" {
  input = local.connections_sum

  lifecycle {
    precondition {
      condition     = local.connections_sum <= 0.8 * local.max_connections
      error_message = "All instances together may open ${local.connections_sum} connections (${join(", ", [for who, n in local.connections : "${who} ${n}"])}), and 80 % of max_connections (${local.max_connections}) is ${floor(0.8 * local.max_connections)}: the rest is for rollouts. Lower pool or max_instances in the manifest, or the variable max_instances, or take a larger database."
    }
  }
}
