package functions_test

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/functions"
	"github.com/liftlog/liftlog-api/shared/config"
)

func TestTheReadmeListsTheConfiguration(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../README.md")
	require.NoError(t, err)
	others := struct {
		Chat    config.Chat
		Cleanup config.Cleanup
		Logins  config.Logins
	}{}
	for _, v := range append(config.Describe(functions.ConfigFor(functions.Manifest()...)), config.Describe(&others)...) {
		row := fmt.Sprintf("| `%s` | %s", v.Name, v.Doc)
		if v.Default != "" {
			row += fmt.Sprintf(" (default `%s`)", v.Default)
		}
		if !strings.Contains(string(readme), row+" |\n") {
			t.Errorf("the README lacks %s |", row)
		}
	}
}

var (
	row  = regexp.MustCompile(`(?m)^\| (.*?) \| .* \|$`)
	name = regexp.MustCompile("`([^`]+)`")
)

// TestTheReadmeListsTheFolders requires each folder that holds a package of Go or a module of Terraform; of the others, which hold
// data, it is enough that the folder above is there.
func TestTheReadmeListsTheFolders(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../README.md")
	require.NoError(t, err)
	_, table, ok := strings.Cut(string(readme), "\n| folder | promise |\n| --- | --- |\n")
	require.True(t, ok)
	table, _, _ = strings.Cut(table, "\n\n")
	listed := map[string]bool{}
	for _, found := range row.FindAllStringSubmatch(table+"\n", -1) {
		for _, folder := range name.FindAllStringSubmatch(found[1], -1) {
			assert.False(t, listed[folder[1]], "%s is there twice", folder[1])
			assert.DirExists(t, filepath.Join("..", folder[1]))
			listed[folder[1]] = true
		}
	}
	for folder, isCode := range folders(t, "..") {
		assert.True(t, listed[folder] || !isCode && listed[path.Dir(folder)], "the README lacks the folder %s", folder)
	}
}

// folders are all that hold files, and whether these are code.
func folders(t *testing.T, root string) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	require.NoError(t, filepath.WalkDir(root, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || file == root {
			return err
		}
		if entry.IsDir() {
			if strings.HasPrefix(entry.Name(), ".") || slices.Contains([]string{"build", "generated", "node_modules", "testdata"}, entry.Name()) {
				return fs.SkipDir
			}
			return nil
		}
		name, err := filepath.Rel(root, file)
		if folder := filepath.ToSlash(filepath.Dir(name)); folder != "." {
			found[folder] = found[folder] || slices.Contains([]string{".go", ".tf"}, filepath.Ext(name))
		}
		return err
	}))
	return found
}

func TestTheReadmeListsTheScripts(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../README.md")
	require.NoError(t, err)
	files, err := os.ReadDir("../scripts")
	require.NoError(t, err)
	for _, file := range files {
		if !file.IsDir() && filepath.Ext(file.Name()) == "" {
			named := strings.Contains(string(readme), "`scripts/"+file.Name()+"`") || strings.Contains(string(readme), "`scripts/"+file.Name()+" ")
			assert.True(t, named, "the README's tables lack scripts/%s", file.Name())
		}
	}
}
