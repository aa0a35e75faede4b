package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
)

const (
	users    = 10_000
	rounds   = 3
	seconds  = 8
	starts   = 10
	pictures = 1000
	picture  = 2000 << 10
)

func runUsers(ctx context.Context, b *bench) error {
	return b.on(ctx, "", b.size, b.start, b.throughput, b.batch)
}

func (b *bench) size(context.Context) error {
	info, err := os.Stat(b.server)
	if err != nil {
		return err
	}
	fmt.Printf("binary: %.1f MB\n", float64(info.Size())/1e6)
	return nil
}

func (b *bench) start(ctx context.Context) error {
	var times []time.Duration
	for range starts {
		p, err := b.serve(ctx, "GetUser")
		if err != nil {
			return err
		}
		p.stop()
		times = append(times, p.ready)
	}
	slices.Sort(times)
	fmt.Printf("start to ready: median %v of %d\n", times[starts/2].Round(time.Millisecond), starts)
	return nil
}

// throughput alternates wrk on GetUser and pgbench on the same server.
func (b *bench) throughput(ctx context.Context) error {
	if _, err := b.conn.Exec(ctx, `INSERT INTO users (id, user_lookup, hashed_password, salt)
		SELECT ('00000000-0000-4000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, 'user' || n, '', '' FROM generate_series(1, $1::int) n`, users); err != nil {
		return err
	}
	if err := b.database.CreateDatabase(ctx, "pgbench"); err != nil {
		return err
	}
	if _, err := output(ctx, "pgbench", "-i", "-q", "-s", "10", b.database.URL("pgbench")); err != nil {
		return err
	}
	script := filepath.Join(os.TempDir(), fmt.Sprintf("liftlog-%d.lua", os.Getpid()))
	lua := fmt.Sprintf(`request = function() return wrk.format("GET", string.format("/v2/user/00000000-0000-4000-8000-%%012x", math.random(1, %d))) end`, users)
	if err := os.WriteFile(script, []byte(lua), 0o600); err != nil {
		return err
	}
	defer func() { _ = os.Remove(script) }()
	p, err := b.serve(ctx, "GetUser")
	if err != nil {
		return err
	}
	defer p.stop()
	duration := strconv.Itoa(seconds)
	for range rounds {
		said, err := output(ctx, "wrk", "-t1", "-c64", "-d"+duration, "-s", script, p.base)
		if err != nil {
			return err
		}
		if strings.Contains(said, "Non-2xx") {
			return fmt.Errorf("wrk got failures: %s", said)
		}
		requests, err := number(said, `Requests/sec:\s+([\d.]+)`)
		if err != nil {
			return err
		}
		if said, err = output(ctx, "pgbench", "-S", "-c", "32", "-j", "1", "-T", duration, b.database.URL("pgbench")); err != nil {
			return err
		}
		transactions, err := number(said, `tps = ([\d.]+)`)
		if err != nil {
			return err
		}
		fmt.Printf("GET /v2/user/{id}, 64 connections: %.2f x pgbench -S (%.0f/s and %.0f/s)\n", requests/transactions, requests, transactions)
	}
	resident, err := p.memory("VmRSS")
	fmt.Printf("GetUser resident after load: %.0f MB\n", float64(resident)/1e6)
	return err
}

// batch asks for many users with large pictures.
func (b *bench) batch(ctx context.Context) error {
	ids := make([]string, pictures)
	for i := range ids {
		id := uuid.New()
		ids[i] = strconv.Quote(id.String())
		if _, err := b.conn.Exec(ctx, `INSERT INTO users (id, user_lookup, hashed_password, salt, encrypted_profile_picture)
			SELECT $1, $2, '', '', string_agg(sha512((n + random())::text::bytea), '') FROM generate_series(1, $3 / 64) n`, id, id.String(), picture); err != nil {
			return err
		}
	}
	body := `{"ids":[` + strings.Join(ids, ",") + `]}`
	return b.stream(ctx, "GetUsers", "/v2/users", body, fmt.Sprintf("%d pictures of %d KiB", pictures, picture>>10))
}
