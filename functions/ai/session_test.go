package ai_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/liftlog/liftlog-api/functions/functionstest"
)

// manyExercises are the members of an object of that many exercises.
func manyExercises(n int) string {
	exercises := make([]string, n)
	for i := range exercises {
		exercises[i] = fmt.Sprintf(`"exercise %d":%d`, i, i)
	}
	return strings.Join(exercises, ",")
}

func TestASessionsBounds(t *testing.T) {
	t.Parallel()
	handler, _, model := functionstest.NewPlanner(t)
	session := func(members string) string {
		return `{"attributes":{"areasToWorkout":["Chest"],"volume":50,"exerciseToKilograms":{}` + members + `}}`
	}
	for body, field := range map[string]string{
		session(`,"exerciseToKilograms":{"` + strings.Repeat("x", 50) + `":1}`): "attributes.exerciseToKilograms",
		session(`,"exerciseToKilograms":{"x":"1"}`):                             "attributes.exerciseToKilograms",
		session(`,"exerciseToKilograms":{"x":1e999}`):                           "attributes.exerciseToKilograms",
		session(`,"areasToWorkout":[]`):                                         "attributes.areasToWorkout",
		session(`,"areasToWorkout":[0`):                                         "attributes.areasToWorkout[0]",
		session(`,"exerciseToKilograms":{` + manyExercises(101) + `}`):          "attributes.exerciseToKilograms",
		session(`,"volume":null`):                                               "attributes.volume",
		session(`,"volume":"50"`):                                               "attributes.volume",
	} {
		w := functionstest.Call(t, handler, http.MethodPost, "/v2/ai/session", body)
		assert.Equal(t, http.StatusBadRequest, w.Code, body)
		assert.Contains(t, w.Body.String(), `"`+field+`"`)
	}
	assert.Zero(t, model.Count(), "the model was not asked")
	w := functionstest.Call(t, handler, http.MethodPost, "/v2/ai/session", session(`,"exerciseToKilograms":{`+manyExercises(100)+`}`))
	assert.Equal(t, http.StatusOK, w.Code, w.Body)
}

func TestPlanSessionReadsBodiesAsV1Did(t *testing.T) {
	t.Parallel()
	handler := functionstest.NewHandler(t)
	functionstest.PlayBodies(t, handler, "PlanSession", `{"attributes":{"areasToWorkout":["Chest"],"volume":50,"exerciseToKilograms":{"K":1},"useImperialUnits":false,"additionalInfo":""}}`, []functionstest.Refusal{
		{`}}`, `},"attributes":{}}`, "attributes.areasToWorkout"}, {`"areasToWorkout"`, `"areasToWor\u212aout"`, "attributes.areasToWorkout"},
		{`"volume"`, `"exerciseToKilograms":null,"volume"`, ""}, {`"use`, `"exerciseToKilograms":null,"use`, "attributes.exerciseToKilograms"},
	})
}
