# The plans that routes_test.go looks requests up in.
mock_provider "google" {}

variables {
  v1         = { host = "v1.liftlog.com" }
  chat_on_v2 = false
}

run "nothing_is_ours" {
  command = plan

  variables {
    v2_weight = { reads = 0, writes = 0 }
  }
}

run "some_reads_are_ours" {
  command = plan

  variables {
    v2_weight  = { reads = 10, writes = 0 }
    chat_on_v2 = true
  }
}

run "all_is_ours" {
  command = plan

  variables {
    v2_weight = { reads = 100, writes = 100 }
  }
}

run "v1_is_gone" {
  command = plan

  variables {
    v1            = null
    v2_weight     = { reads = 10, writes = 10 } # means nothing any more
    url_map_tests = true
  }

  assert {
    condition     = length(google_compute_url_map.main.test) > 0 && length(google_compute_url_map.main.test) <= 100
    error_message = "the map's own tests are missing, or more than the API takes"
  }
}
