package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/gocty"

	"github.com/liftlog/liftlog-api/scripts/environment"
)

// shares are how much of the traffic on v1's own paths is v2's.
type shares struct {
	Reads  int  `json:"reads"`  // of a hundred
	Writes int  `json:"writes"` // of a hundred
	Chat   bool `json:"chat"`
}

func (s shares) String() string {
	chat := "v1's"
	if s.Chat {
		chat = "v2's"
	}
	return fmt.Sprintf("reads %d, writes %d, the chat %s", s.Reads, s.Writes, chat)
}

// path is the environment's file.
func (t *tool) path() string { return filepath.Join(t.folder, "environments", t.Name+".tfvars") }

// written is what the file says, and whether there is a v1.
func (t *tool) written() (s shares, hasV1 bool, err error) {
	values, err := environment.Attributes(t.path(), nil)
	if err != nil {
		return s, false, err
	}
	if weight, ok := values["v2_weight"]; ok {
		for name, share := range map[string]*int{"reads": &s.Reads, "writes": &s.Writes} {
			if !weight.Type().IsObjectType() || !weight.Type().HasAttribute(name) || gocty.FromCtyValue(weight.GetAttr(name), share) != nil {
				return s, false, fmt.Errorf("v2_weight in %s has no whole number of %s: write { reads = 0, writes = 0 }", t.path(), name)
			}
		}
	}
	if chat, ok := values["chat_on_v2"]; ok && gocty.FromCtyValue(chat, &s.Chat) != nil {
		return s, false, fmt.Errorf("chat_on_v2 in %s is neither true nor false", t.path())
	}
	v1, ok := values["v1"]
	return s, ok && !v1.IsNull(), nil
}

// write changes the file, and nothing else in it. It is whole at any time.
func (t *tool) write(to shares) error {
	text, err := os.ReadFile(t.path())
	if err != nil {
		return err
	}
	file, diagnostics := hclwrite.ParseConfig(text, t.path(), hcl.InitialPos)
	if diagnostics.HasErrors() {
		return diagnostics
	}
	file.Body().SetAttributeRaw("v2_weight", hclwrite.TokensForIdentifier(fmt.Sprintf("{ reads = %d, writes = %d }", to.Reads, to.Writes)))
	if file.Body().GetAttribute("chat_on_v2") != nil || to.Chat {
		file.Body().SetAttributeValue("chat_on_v2", cty.BoolVal(to.Chat))
	}
	temporary := t.path() + ".new"
	if err := os.WriteFile(temporary, hclwrite.Format(file.Bytes()), 0o644); err != nil { //nolint:gosec // a file of the repository
		return err
	}
	return os.Rename(temporary, t.path())
}

// applied is what Terraform has applied last. It is nil before anything was.
func (t *tool) applied(ctx context.Context) (*shares, error) {
	run := func(args ...string) ([]byte, error) {
		command := exec.CommandContext(ctx, "terraform", args...) //nolint:gosec // names from our files
		command.Dir, command.Stderr = t.folder, os.Stderr
		command.Env = append(os.Environ(), "TF_IN_AUTOMATION=1", "CHECKPOINT_DISABLE=1")
		said, err := command.Output()
		if err != nil {
			return nil, fmt.Errorf("what is applied cannot be seen: terraform %s: %w", args[0], err)
		}
		return said, nil
	}
	if _, err := run("init", "-input=false", "-no-color", "-reconfigure",
		"-backend-config=bucket="+t.StateBucket, "-backend-config=prefix="+t.Name); err != nil {
		return nil, err
	}
	said, err := run("output", "-json", "-no-color")
	if err != nil {
		return nil, err
	}
	var outputs struct {
		Traffic *struct{ Value shares } `json:"traffic"`
	}
	if err := json.Unmarshal(said, &outputs); err != nil {
		return nil, fmt.Errorf("what is applied cannot be seen: terraform output: %w", err)
	}
	if outputs.Traffic == nil {
		return nil, nil //nolint:nilnil // said above
	}
	return &outputs.Traffic.Value, nil
}
