package main

import (
	"net/http"
	"time"

	"github.com/swaggest/swgui"
	"github.com/swaggest/swgui/v5emb"

	"github.com/liftlog/liftlog-api/functions"
	"github.com/liftlog/liftlog-api/shared/web"
)

// Where the API is described: for programs, and as a page to read and to try it.
const (
	openAPIPath = "/openapi.json"
	docsPath    = "/docs"
)

// docs serves the API's description. The page is Swagger UI, whose files are in this program.
func docs() []web.Mount {
	page := v5emb.NewHandlerWithConfig(swgui.Config{
		Title: "LiftLog API", SwaggerJSON: openAPIPath, BasePath: docsPath, HideCurl: false,
		PreAuthorizeApiKey: map[string]string{"purchase": "Web " + webKey},
		SettingsUI:         map[string]string{"defaultModelsExpandDepth": "0", "displayRequestDuration": "true"},
	})
	const timeout = 30 * time.Second
	mount := func(path string, write func(http.ResponseWriter, *http.Request)) web.Mount {
		endpoint := web.Raw(func(w http.ResponseWriter, r *http.Request) error {
			write(w, r)
			return nil
		})
		return web.Mount{Route: web.Route{Method: http.MethodGet, Path: path, Timeout: timeout}, Endpoint: endpoint}
	}
	return []web.Mount{
		mount(openAPIPath, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json; charset=utf-8")
			_, _ = w.Write(functions.OpenAPI()) // whoever has gone is not told
		}),
		mount(docsPath, page.ServeHTTP),
		mount(docsPath+"/{file}", page.ServeHTTP),
	}
}
