package ai

import (
	"context"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/liftlog/liftlog-api/shared/planner"
	"github.com/liftlog/liftlog-api/shared/purchase"
)

// WorkoutRequest says for whom to make a plan.
type WorkoutRequest struct {
	Attributes *WorkoutAttributes `json:"attributes" name:"attributes" required:"true"`
}

// WorkoutAttributes are what a person is like and wants.
type WorkoutAttributes struct {
	Gender           Gender     `json:"gender"`
	WeightRange      string     `json:"weightRange" pattern:"\\d{1,3}-\\d{1,3}" maxLength:"20" fault:"A weight range is required, such as 70-80."` // such as 70-80
	Age              int        `json:"age" name:"age" minimum:"12" maximum:"149"`
	DaysPerWeek      int        `json:"daysPerWeek" minimum:"1" maximum:"7" fault:"A week has one to seven days."`
	Goals            []string   `json:"goals" minItems:"1" maxItems:"9" eachName:"text" eachMinLength:"3" eachMaxLength:"30"`
	Experience       Experience `json:"experience"`
	UseImperialUnits bool       `json:"useImperialUnits"`
	AdditionalInfo   string     `json:"additionalInfo" name:"text" maxLength:"2000"`
}

// Gender is one of [Gender.Names], read in any case or as v1's number of it.
type Gender string

// Names lists the genders in the order of v1's numbers.
func (Gender) Names() []string { return []string{"Male", "Female", "Other", preferNotToSay} }

// UnmarshalJSONFrom reads one.
func (g *Gender) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	name, err := readName(dec, g.Names())
	*g = Gender(name)
	return err
}

// preferNotToSay is a gender of which the model is told nothing.
const preferNotToSay = "PreferNotToSay"

// Experience is one of [Experience.Names], read in any case or as v1's number of it.
type Experience string

// Names lists how experienced one may be in the order of v1's numbers.
func (Experience) Names() []string {
	return []string{"Beginner", "Intermediate", "Advanced", "Professional"}
}

// UnmarshalJSONFrom reads one.
func (e *Experience) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	name, err := readName(dec, e.Names())
	*e = Experience(name)
	return err
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
