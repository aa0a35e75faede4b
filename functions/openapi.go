package functions

import _ "embed"

//go:embed openapi.json
var openAPI []byte

// OpenAPI returns the API's description, which scripts/generate makes of the manifest and the endpoints' types. Only what calls
// it has the text in its program.
func OpenAPI() []byte { return openAPI }
