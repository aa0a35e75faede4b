package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/liftlog/liftlog-api/functions/plans"
)

// runPlans prints how every statement is run on a hundred times of today's data.
func runPlans(ctx context.Context, b *bench, args []string) error {
	flags := flag.NewFlagSet("plans", flag.ContinueOnError)
	part := flags.Int("part", 1, "divide the data, a hundred times today's, by this number")
	if err := parse(flags, args); err != nil {
		return err
	}
	return b.on(ctx, "", func(ctx context.Context) error {
		began, size := time.Now(), plans.Hundredfold.Part(max(1, *part))
		all, err := plans.Explain(ctx, b.url, size)
		if err != nil {
			return err
		}
		fmt.Printf("%+v, made and read in %v\n\n", size, time.Since(began).Round(time.Second))
		printPlans(all)
		return nil
	})
}

func printPlans(all []plans.Plan) {
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	numbers := map[string]int{}
	var statements []string
	_, _ = fmt.Fprintln(table, "case\tstatement\tplan\trows\tblocks\tallowed\tcost\tms\ttables are read by")
	for _, p := range all {
		if numbers[p.Statement] == 0 {
			statements = append(statements, p.Statement)
			numbers[p.Statement] = len(statements)
		}
		kind, blocks := "custom", strconv.Itoa(p.Blocks)
		if p.Generic {
			kind = "generic"
		}
		if p.Blocks > p.Allowed() {
			blocks += " (!)"
		}
		_, _ = fmt.Fprintf(table, "%s\t%d\t%s\t%d\t%s\t%d\t%.0f\t%.2f\t%s\n",
			p.Scenario, numbers[p.Statement], kind, p.Rows, blocks, p.Allowed(), p.Cost, p.Millis, strings.Join(p.Scans, ", "))
	}
	_ = table.Flush()
	fmt.Println()
	for i, statement := range statements {
		fmt.Printf("%d: %s\n", i+1, statement)
	}
}
