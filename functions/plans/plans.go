// Package plans shows how PostgreSQL runs the statements of every endpoint on data as large and as uneven as one likes, for
// its test and for scripts/load. It is in no production binary.
package plans

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/liftlog/liftlog-api/shared/postgres"
)

// Plan is how a statement was run.
type Plan struct {
	Scenario  string // whose statement it is, and in which of its cases
	Statement string // on one line
	Generic   bool   // made without knowing the values, as PostgreSQL may from the sixth execution on
	Asked     int    // how many things were asked for
	Counted   int    // how many rows it may read to see whether there is room
	Rows      int    // returned
	Blocks    int    // read, wherever they were
	Cost      float64
	Millis    float64
	Scans     []string // how tables were read
}

// What a statement may read: some blocks whatever it does, as a write goes down every index of its tables, and some for each row
// that it returns or counts and each thing that is asked for: going down an index to a row takes four or five, and deleting the
// row as many again.
const fixedBlocks, blocksPerRow = 100, 10

// Allowed is how many blocks the statement may read: about what it returns, times a factor.
func (p Plan) Allowed() int { return fixedBlocks + blocksPerRow*(p.Asked+p.Counted+p.Rows) }

// Explain fills the migrated, empty database at the URL, has every endpoint run its statements in all cases that matter, and
// returns their plans, those that are made for the values and generic ones. It needs a superuser.
func Explain(ctx context.Context, url string, size Size) (all []Plan, err error) {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	password, err := size.fill(ctx, conn, url)
	if err != nil {
		return nil, err
	}
	for i, generic := range []bool{false, true} {
		if err := explainAll(ctx, conn, generic); err != nil {
			return nil, err
		}
		explained, err := run(ctx, url, password, size, size.Users-1-i)
		if err != nil {
			return nil, err
		}
		for _, plan := range explained {
			plan.Generic = generic
			all = append(all, plan)
		}
	}
	return all, nil
}

// explainAll makes the server explain, to whoever connects from then on, each statement that is run.
func explainAll(ctx context.Context, conn *pgx.Conn, generic bool) error {
	mode := "force_custom_plan"
	if generic {
		mode = "force_generic_plan"
	}
	database := pgx.Identifier{conn.Config().Database}.Sanitize()
	for setting, value := range map[string]string{
		"plan_cache_mode":               mode,
		"session_preload_libraries":     "auto_explain",
		"auto_explain.log_min_duration": "0",
		"auto_explain.log_analyze":      "on",
		"auto_explain.log_buffers":      "on",
		"auto_explain.log_format":       "json",
		"auto_explain.log_level":        "notice",
	} {
		if _, err := conn.Exec(ctx, fmt.Sprintf("ALTER DATABASE %s SET %s = '%s'", database, setting, value)); err != nil {
			return fmt.Errorf("set %s: %w", setting, err)
		}
	}
	return nil
}

// run runs the scenarios and gathers what the server explains.
func run(ctx context.Context, url, password string, size Size, doomed int) (all []Plan, err error) {
	recorder := &recorder{}
	db, err := postgres.Open(ctx, postgres.Options{URL: url, MaxConns: 1, Application: "plans", Tracer: recorder})
	if err != nil {
		return nil, err
	}
	defer db.Close()
	service, err := newService(ctx, url, password, db)
	if err != nil {
		return nil, err
	}
	defer service.close()
	for _, s := range service.scenarios(size, doomed) {
		if err := s.run(ctx); err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
		explained, err := recorder.take()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
		for _, plan := range explained {
			plan.Scenario, plan.Asked, plan.Counted = s.name, s.asked, s.counted
			all = append(all, plan)
		}
	}
	return all, nil
}

// recorder keeps what the server explains. It is the connections' tracer, by which it gets to know them.
type recorder struct {
	mu      sync.Mutex
	notices []string
}

func (r *recorder) TraceConnectStart(ctx context.Context, data pgx.TraceConnectStartData) context.Context {
	data.ConnConfig.OnNotice = func(_ *pgconn.PgConn, notice *pgconn.Notice) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.notices = append(r.notices, notice.Message)
	}
	return ctx
}
func (*recorder) TraceConnectEnd(context.Context, pgx.TraceConnectEndData) {}

func (*recorder) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return ctx
}
func (*recorder) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// take returns what has been explained since the last time: of a statement that ran several times the first and the last.
func (r *recorder) take() (plans []Plan, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []Plan
	first, last := map[string]int{}, map[string]int{}
	for _, notice := range r.notices {
		plan, err := read(notice)
		if err != nil {
			return nil, err
		}
		if _, found := first[plan.Statement]; !found {
			first[plan.Statement] = len(all)
		}
		last[plan.Statement] = len(all)
		all = append(all, plan)
	}
	r.notices = nil
	for i, plan := range all {
		if i == first[plan.Statement] || i == last[plan.Statement] {
			plans = append(plans, plan)
		}
	}
	return plans, nil
}

// node is a part of a plan as the server tells it.
type node struct {
	Type     string  `json:"Node Type"`
	Relation string  `json:"Relation Name"`
	Index    string  `json:"Index Name"`
	Cost     float64 `json:"Total Cost"`
	Rows     float64 `json:"Actual Rows"`
	Loops    float64 `json:"Actual Loops"`
	Hit      int     `json:"Shared Hit Blocks"`
	Read     int     `json:"Shared Read Blocks"`
	Plans    []node  `json:"Plans"`
}

// read reads a notice of auto_explain's: "duration: 1.234 ms  plan:" and an object.
func read(notice string) (p Plan, err error) {
	before, after, found := strings.Cut(notice, "{")
	if _, err := fmt.Sscanf(before, "duration: %f ms", &p.Millis); err != nil || !found {
		return p, fmt.Errorf("this explains nothing: %s", notice)
	}
	var explained struct {
		Query string `json:"Query Text"`
		Plan  node   `json:"Plan"`
	}
	if err := json.Unmarshal([]byte("{"+after), &explained); err != nil {
		return p, fmt.Errorf("read a plan: %w", err)
	}
	root := explained.Plan
	p.Statement = strings.Join(strings.Fields(explained.Query), " ")
	p.Rows, p.Blocks, p.Cost = int(root.Rows), root.Hit+root.Read, root.Cost
	p.addScans(root)
	return p, nil
}

// addScans notes how tables were read below the node.
func (p *Plan) addScans(n node) {
	if strings.HasSuffix(n.Type, "Scan") && n.Loops > 0 && n.Index+n.Relation != "" {
		scan := n.Type + " " + n.Index
		if n.Index == "" {
			scan = n.Type + " " + n.Relation
		}
		if !slices.Contains(p.Scans, scan) {
			p.Scans = append(p.Scans, scan)
		}
	}
	for _, below := range n.Plans {
		p.addScans(below)
	}
}
