package share_test

import (
	"os"
	"testing"

	"github.com/liftlog/liftlog-api/shared/postgres/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Run(m)) }
