// Command gcloud stands in for Google Cloud's command line tool in tests; package gcloudtest says what it knows.
package main

import (
	"os"

	"github.com/liftlog/liftlog-api/scripts/gcloudtest"
)

func main() {
	os.Exit(gcloudtest.Run(os.Getenv(gcloudtest.StateVariable), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
