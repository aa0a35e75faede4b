# What services_test.go looks at. Ids are known after an apply only.
mock_provider "google" {}

run "production" {
  variables {
    v1        = { host = "v1.liftlog.com" }
    v2_weight = { reads = 0, writes = 0 }
  }

  assert {
    condition     = google_cloud_scheduler_job.job["cleanup"].http_target[0].oauth_token[0].service_account_email == google_service_account.scheduler["cleanup"].email && google_cloud_run_v2_job_iam_member.scheduler["cleanup"].name == "cleanup" && google_cloud_run_v2_job_iam_member.scheduler["cleanup"].member == google_service_account.scheduler["cleanup"].member && google_cloud_run_v2_job_iam_member.scheduler["cleanup"].role == "roles/run.invoker"
    error_message = "the schedule's account may not run the clean-up, or may run something else"
  }
}
