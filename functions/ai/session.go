package ai

import (
	"context"

	"github.com/liftlog/liftlog-api/shared/planner"
	"github.com/liftlog/liftlog-api/shared/purchase"
)

// SessionRequest says what session to make.
type SessionRequest struct {
	Attributes *SessionAttributes `json:"attributes" name:"attributes" required:"true"`
}

// SessionAttributes are what a person wants to train.
type SessionAttributes struct {
	AreasToWorkout      []string           `json:"areasToWorkout" minItems:"1" maxItems:"9" eachName:"text" eachMinLength:"3" eachMaxLength:"15"`
	Volume              int                `json:"volume" name:"volume" minimum:"0" maximum:"100"` // how much to train: from 90 on ten exercises
	ExerciseToKilograms map[string]float64 `json:"exerciseToKilograms" name:"exercises" required:"true" maxProperties:"100" keyName:"name of an exercise" keyMaxLength:"49"`
	UseImperialUnits    bool               `json:"useImperialUnits"` // the weights are in pounds then, whatever the name says
	AdditionalInfo      string             `json:"additionalInfo" name:"text" maxLength:"200"`
}

// Session makes one session.
func (h *Handlers) Session(ctx context.Context, buyer purchase.Buyer, req SessionRequest) (SessionResponse, error) {
	a := req.Attributes
	session, err := limited(ctx, h, buyer, func() (planner.Session, error) {
		return h.Planner.Session(ctx, planner.SessionRequest{
			Areas: a.AreasToWorkout, MinimumExercises: minimumExercises(a.Volume), KnownExercises: a.ExerciseToKilograms,
			WeightUnit: unit(a.UseImperialUnits), AdditionalInfo: a.AdditionalInfo,
		})
	})
	if err != nil {
		return SessionResponse{}, err
	}
	return toWire(session), nil
}

func minimumExercises(volume int) int {
	switch {
	case volume < 25:
		return 2
	case volume < 50:
		return 3
	case volume < 75:
		return 5
	case volume < 90:
		return 7
	default:
		return 10
	}
}
