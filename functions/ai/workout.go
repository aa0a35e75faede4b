package ai

import (
	"context"
	"regexp"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/liftlog/liftlog-api/shared/apierr"
	"github.com/liftlog/liftlog-api/shared/planner"
	"github.com/liftlog/liftlog-api/shared/purchase"
)

// WorkoutRequest says for whom to make a plan.
type WorkoutRequest struct {
	Attributes *WorkoutAttributes `json:"attributes"`
}

// WorkoutAttributes are what a person is like and wants.
type WorkoutAttributes struct {
	Gender           Gender     `json:"gender"`
	WeightRange      string     `json:"weightRange"` // such as 70-80
	Age              int        `json:"age"`
	DaysPerWeek      int        `json:"daysPerWeek"`
	Goals            []string   `json:"goals" maxItems:"9"`
	Experience       Experience `json:"experience"`
	UseImperialUnits bool       `json:"useImperialUnits"`
	AdditionalInfo   string     `json:"additionalInfo"`
}

// Gender is Male, Female, Other or PreferNotToSay, read in any case or as v1's number of it.
type Gender string

// UnmarshalJSONFrom reads one.
func (g *Gender) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	name, err := readName(dec, []string{"Male", "Female", "Other", preferNotToSay})
	*g = Gender(name)
	return err
}

// preferNotToSay is a gender of which the model is told nothing.
const preferNotToSay = "PreferNotToSay"

// Experience is Beginner, Intermediate, Advanced or Professional, read in any case or as v1's number of it.
type Experience string

// UnmarshalJSONFrom reads one.
func (e *Experience) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	name, err := readName(dec, []string{"Beginner", "Intermediate", "Advanced", "Professional"})
	*e = Experience(name)
	return err
}

// The bounds of a plan's attributes; lengths are in v1's characters.
const (
	minAge, maxAge   = 12, 149
	minDays, maxDays = 1, 7
	minGoal, maxGoal = 3, 30
	maxWeightRange   = 20
	maxPlanInfo      = 2000
)

var weightRangeForm = regexp.MustCompile(`\d{1,3}-\d{1,3}`)

// Validate reports every field that is missing or out of bounds.
func (r *WorkoutRequest) Validate() error {
	var faults apierr.Faults
	faults.Check(r.Attributes != nil, "attributes", "Attributes are required.")
	if a := r.Attributes; a != nil {
		faults.Check(a.Age >= minAge && a.Age <= maxAge, "attributes.age", "The age is out of range.")
		faults.Check(a.DaysPerWeek >= minDays && a.DaysPerWeek <= maxDays, "attributes.daysPerWeek", "A week has one to seven days.")
		lengths(&faults, "attributes.goals", a.Goals, minGoal, maxGoal)
		faults.Check(weightRangeForm.MatchString(a.WeightRange) && apierr.Length(a.WeightRange) <= maxWeightRange,
			"attributes.weightRange", "A weight range is required, such as 70-80.")
		faults.Check(apierr.Length(a.AdditionalInfo) <= maxPlanInfo, "attributes.additionalInfo", "The text is too long.")
	}
	return faults.Err()
}

// WorkoutResponse is a plan on the wire.
type WorkoutResponse struct {
	Name        string            `json:"name"`
	Description string            `json:"description"`
	Sessions    []SessionResponse `json:"sessions"`
}

// Workout makes a plan.
func (h *Handlers) Workout(ctx context.Context, buyer purchase.Buyer, req WorkoutRequest) (WorkoutResponse, error) {
	a := req.Attributes
	if a.Gender == preferNotToSay {
		a.Gender = ""
	}
	plan, err := limited(ctx, h, buyer, func() (planner.Plan, error) {
		return h.Planner.Plan(ctx, planner.PlanRequest{
			Gender: string(a.Gender), Age: a.Age, WeightRange: a.WeightRange, WeightUnit: unit(a.UseImperialUnits), Goals: a.Goals,
			DaysPerWeek: a.DaysPerWeek, Experience: string(a.Experience), AdditionalInfo: a.AdditionalInfo,
		})
	})
	if err != nil {
		return WorkoutResponse{}, err
	}
	response := WorkoutResponse{Name: plan.Name, Description: plan.Description, Sessions: make([]SessionResponse, len(plan.Sessions))}
	for i, session := range plan.Sessions {
		response.Sessions[i] = toWire(session)
	}
	return response, nil
}
