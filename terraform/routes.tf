# The way of a request: one list of rules, literal paths before templates. Nothing is rewritten: a rewrite belongs to a rule
# and so to v1's part of it as well. A path that nobody serves is 421 or v1's, and never 404 of ours: to the apps a 404 about
# a user says that the account is gone.
locals {
  # A path of one function is matched without a method: the function refuses others and answers preflights itself. Where
  # functions share a path, all but one are told by their method, and that one takes what is left: GET's, for HEAD, if there
  # is one.
  shared_paths = {
    for path, same in { for name, f in local.functions : f.path => merge(f, { function = name })... if f.path != "/health" } :
    path => concat([for f in same : f if f.method != "GET"], [for f in same : f if f.method == "GET"])
  }
  targets = flatten([
    for path, same in local.shared_paths : [
      for i, f in same : {
        path     = path
        template = strcontains(path, "{")
        method   = i == length(same) - 1 ? null : f.method
        function = f.function
        weight   = f.writes ? var.v2_weight.writes : var.v2_weight.reads
      }
    ]
  ])

  hub_paths = flatten([for hub in ["/ai-chat", "/ai-chat-v2"] : [for rest in ["", "/", "/negotiate", "/negotiate/"] : "${hub}${rest}"]])

  # A rule leads to a backend, or with a weight to it and to v1. Each of its matches has one kind of path.
  no_match = { full = null, template = null, prefix = null, ignore_case = false, method = null }
  route_rules = concat(
    [{ backend = "Health", weight = null, matches = [merge(local.no_match, { full = "/health" })] }],
    [{ backend = "chat", weight = null, matches = [for p in local.hub_paths : merge(local.no_match, { full = "/v2${p}", ignore_case = true })] }],
    [{ backend = var.v1 == null || var.chat_on_v2 ? "chat" : "v1", weight = null, matches = [for p in local.hub_paths : merge(local.no_match, { full = p, ignore_case = true })] }],
    flatten([
      for template in [false, true] : [
        for prefix in ["/v2", ""] : [
          for t in local.targets : {
            backend = t.function
            weight  = prefix == "/v2" || var.v1 == null ? null : t.weight
            matches = [merge(local.no_match, template ? {
              template = "${prefix}${replace(trimprefix(t.path, "/v2"), "/\\{[a-zA-Z]+\\}/", "*")}", method = t.method
              } : {
              full = "${prefix}${trimprefix(t.path, "/v2")}", method = t.method
            })]
          } if t.template == template
        ]
      ]
    ]),
    # What nobody serves below /v2 is for a function to refuse.
    [{ backend = "Health", weight = null, matches = [merge(local.no_match, { full = "/v2" }), merge(local.no_match, { prefix = "/v2/" })] }],
  )

  backends = merge(
    { for name, f in module.function : name => f.backend },
    { chat = module.chat.backend },
    var.v1 == null ? {} : { v1 = "projects/${var.project}/global/backendServices/${google_compute_backend_service.v1[0].name}" },
  )

  map_tests = concat(
    [for t in local.targets : { path = replace(t.path, "/\\{[a-zA-Z]+\\}/", "one"), backend = t.function } if t.method == null],
    [for p in local.hub_paths : { path = "/v2${p}", backend = "chat" }],
    [for p in local.hub_paths : { path = p, backend = var.v1 == null || var.chat_on_v2 ? "chat" : "v1" }],
    [
      { path = "/health", backend = "Health" },
      { path = "/v2", backend = "Health" },
      { path = "/v2/unknown", backend = "Health" },
      { path = "/unknown", backend = var.v1 == null ? "Health" : "v1" },
    ],
  )
}

resource "google_compute_url_map" "main" {
  name            = "liftlog"
  default_service = local.backends["Health"]

  host_rule {
    hosts        = ["*"]
    path_matcher = "all"
  }

  path_matcher {
    name            = "all"
    default_service = local.backends[var.v1 == null ? "Health" : "v1"]

    dynamic "route_rules" {
      for_each = local.route_rules
      iterator = rule
      content {
        priority = rule.key + 1 # in the list's order: the API returns them so
        service  = rule.value.weight == null ? local.backends[rule.value.backend] : null

        dynamic "match_rules" {
          for_each = rule.value.matches
          iterator = match
          content {
            full_path_match     = match.value.full
            path_template_match = match.value.template
            prefix_match        = match.value.prefix
            ignore_case         = match.value.ignore_case ? true : null

            dynamic "header_matches" {
              for_each = match.value.method == null ? [] : [match.value.method]
              content {
                header_name = ":method"
                exact_match = header_matches.value
              }
            }
          }
        }

        dynamic "route_action" {
          for_each = rule.value.weight == null ? [] : [rule.value.weight]
          content {
            weighted_backend_services {
              backend_service = local.backends[rule.value.backend]
              weight          = route_action.value
            }
            weighted_backend_services {
              backend_service = local.backends["v1"]
              weight          = 100 - route_action.value
            }
          }
        }
      }
    }
  }

  dynamic "test" {
    for_each = var.url_map_tests ? local.map_tests : []
    content {
      host    = var.host
      path    = test.value.path
      service = local.backends[test.value.backend]
    }
  }

  lifecycle {
    precondition {
      condition     = length(local.map_tests) <= 100
      error_message = "The map would have ${length(local.map_tests)} tests, and the API takes 100: leave some out of map_tests."
    }
  }
}
