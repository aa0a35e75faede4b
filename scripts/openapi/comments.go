package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
)

// comments are those of the types in the groups of endpoints and of their members, by package.Type and package.Type.Member.
type comments map[string]string

// readComments reads the packages right below the folder.
func readComments(folder string) (comments, error) {
	files, err := filepath.Glob(filepath.Join(folder, "*", "*.go"))
	if err != nil {
		return nil, err
	}
	found := comments{}
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			return nil, fmt.Errorf("read comments: %w", err)
		}
		for _, declaration := range file.Decls {
			types, ok := declaration.(*ast.GenDecl)
			if !ok || types.Tok != token.TYPE {
				continue
			}
			for _, spec := range types.Specs {
				spec := spec.(*ast.TypeSpec) //nolint:errcheck,forcetypeassert // so a declaration of types is made
				key := file.Name.Name + "." + spec.Name.Name
				found[key] = withoutName(types.Doc.Text(), spec.Name.Name)
				if of, ok := spec.Type.(*ast.StructType); ok {
					found.addMembers(key, of)
				}
			}
		}
	}
	return found, nil
}

func (c comments) addMembers(key string, of *ast.StructType) {
	for _, field := range of.Fields.List {
		for _, name := range field.Names {
			c[key+"."+name.Name] = withoutName(field.Doc.Text()+field.Comment.Text(), name.Name)
		}
	}
}

func (c comments) of(t reflect.Type) string { return c[path.Base(t.PkgPath())+"."+t.Name()] }

func (c comments) ofMember(t reflect.Type, member string) string {
	return c[path.Base(t.PkgPath())+"."+t.Name()+"."+member]
}

// link is a doc link to another name, which means nothing outside of the code.
var link = regexp.MustCompile(`\[([\w.]+)\]`)

// withoutName turns a comment of the code, such as "Event is one on the wire.", into one for people who do not see the code.
func withoutName(comment, name string) string {
	text := strings.Join(strings.Fields(link.ReplaceAllString(comment, "$1")), " ")
	text = strings.TrimPrefix(text, name+" ")
	for _, verb := range []string{"is ", "are "} {
		text = strings.TrimPrefix(text, verb)
	}
	if text == "" {
		return ""
	}
	text = strings.ToUpper(text[:1]) + text[1:]
	if !strings.HasSuffix(text, ".") {
		text += "."
	}
	return text
}
