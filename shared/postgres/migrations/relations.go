package migrations

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/pressly/goose/v3"

	"github.com/liftlog/liftlog-api/shared/postgres"
)

// source is a migration's file.
type source struct {
	version int64
	name    string // without the folder
	text    string
}

// sources lists the set's migrations by version.
func (s set) sources() (sources []source, err error) {
	paths, err := fs.Glob(files, s.folder+"/*.sql") // sorted, and versions are padded with zeros
	if err != nil {
		return nil, fmt.Errorf("list migrations: %w", err)
	}
	for _, file := range paths {
		version, err := goose.NumericComponent(file)
		if err != nil {
			return nil, fmt.Errorf("list migrations: %w", err)
		}
		text, err := files.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("list migrations: %w", err)
		}
		sources = append(sources, source{version, path.Base(file), string(text)})
	}
	return sources, nil
}

// relation is a table or an index of v2's own.
type relation struct {
	name     string
	madeBy   source
	isRemade bool // its file can be applied again, as those of indexes that are made concurrently can
}

// definition is a statement that makes or drops a relation of v2's own. A test holds it to what the migrations leave behind.
var definition = regexp.MustCompile(`(?m)^(CREATE|DROP) (TABLE|(?:UNIQUE )?INDEX)( CONCURRENTLY)?(?: IF(?: NOT)? EXISTS)? (v2_\w+)`)

// relations lists by name what the applied migrations leave behind.
func relations(sources []source, applied []int64) []relation {
	there := map[string]relation{}
	for _, s := range sources {
		if !slices.Contains(applied, s.version) {
			continue
		}
		for _, match := range definition.FindAllStringSubmatch(s.text, -1) {
			if name := match[4]; match[1] == "CREATE" {
				there[name] = relation{name, s, match[3] != ""}
			} else {
				delete(there, name)
			}
		}
	}
	return slices.SortedFunc(maps.Values(there), func(a, b relation) int { return strings.Compare(a.name, b.name) })
}

const broken = `
	SELECT name
	FROM unnest($1::text[]) AS name LEFT JOIN pg_index ON indexrelid = to_regclass(name)
	WHERE to_regclass(name) IS NULL OR NOT indisvalid`

// state is how far a set's database has come.
type state struct {
	sources []source
	applied []int64
	broken  []relation // lost, or invalid as an index: writes maintain it and no read uses it
}

func (s set) state(ctx context.Context, pool *postgres.DB) (now state, err error) {
	if now.sources, err = s.sources(); err != nil {
		return now, err
	}
	if there, err := exists(ctx, pool, s.versionTable); err != nil || !there {
		return now, err
	}
	rows, _ := pool.Query(ctx, `SELECT version_id FROM `+s.versionTable) // a failed Query is reported by the next line
	if now.applied, err = pgx.CollectRows(rows, pgx.RowTo[int64]); err != nil {
		return now, postgres.Wrap("read applied migrations", err)
	}
	expected := relations(now.sources, now.applied)
	names := make([]string, len(expected))
	for i, r := range expected {
		names[i] = r.name
	}
	rows, _ = pool.Query(ctx, broken, names)
	found, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return now, postgres.Wrap("look for what migrations have made", err)
	}
	now.broken = slices.DeleteFunc(expected, func(r relation) bool { return !slices.Contains(found, r.name) })
	return now, nil
}

// again lists the migrations that have to be applied again.
func (n state) again() (versions []int64) {
	for _, r := range n.broken {
		if r.isRemade {
			versions = append(versions, r.madeBy.version)
		}
	}
	return versions
}

// pending lists the files of migrations that have not been applied, or have to be again.
func (n state) pending() (names []string) {
	again := n.again()
	for _, s := range n.sources {
		if !slices.Contains(n.applied, s.version) || slices.Contains(again, s.version) {
			names = append(names, s.name)
		}
	}
	return names
}

// lost is a sentence for each relation that nothing brings back by itself.
func (n state) lost() (sentences []string) {
	for _, r := range n.broken {
		if !r.isRemade {
			sentences = append(sentences, fmt.Sprintf("%s is missing or invalid, though %s is recorded as applied: was the database restored as a whole?",
				r.name, r.madeBy.name))
		}
	}
	return sentences
}

// forget removes the records of migrations that have to be applied again.
func (s set) forget(ctx context.Context, pool *postgres.DB) error {
	now, err := s.state(ctx, pool)
	if again := now.again(); err == nil && len(again) > 0 {
		_, err = pool.Exec(ctx, `DELETE FROM `+s.versionTable+` WHERE version_id = ANY ($1)`, again)
	}
	return postgres.Wrap("take back records of migrations", err)
}

// touched finds the tables that a migration makes an index or a reference on.
var touched = regexp.MustCompile(`(?m)(?:^CREATE (?:UNIQUE )?INDEX CONCURRENTLY v2_\w+ ON (\w+)|REFERENCES (\w+))`)

// Touches says which tables a migration reads in order to make an index, and which it locks for a moment to make a foreign key to
// them. The migration is named as in [Report].
func Touches(migration string) (indexed, referred []string, err error) {
	text, err := files.ReadFile(migration)
	if err != nil {
		return nil, nil, fmt.Errorf("read a migration: %w", err)
	}
	for _, match := range touched.FindAllStringSubmatch(string(text), -1) {
		if match[1] != "" {
			indexed = append(indexed, match[1])
		} else if !strings.HasSuffix(migration, "00001_v1_schema.sql") {
			referred = append(referred, match[2])
		}
	}
	return indexed, referred, nil
}
