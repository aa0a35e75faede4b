package ai

import (
	"context"

	"github.com/liftlog/liftlog-api/shared/apierr"
	"github.com/liftlog/liftlog-api/shared/planner"
	"github.com/liftlog/liftlog-api/shared/purchase"
)

// SessionRequest says what session to make.
type SessionRequest struct {
	Attributes *SessionAttributes `json:"attributes"`
}

// SessionAttributes are what a person wants to train.
type SessionAttributes struct {
	AreasToWorkout      []string           `json:"areasToWorkout" maxItems:"9"`
	Volume              int                `json:"volume"` // 0 to 100
	ExerciseToKilograms map[string]float64 `json:"exerciseToKilograms" maxProperties:"100"`
	UseImperialUnits    bool               `json:"useImperialUnits"` // the weights are in pounds then, whatever the name says
	AdditionalInfo      string             `json:"additionalInfo"`
}

// The bounds of a session's attributes; lengths are in v1's characters.
const (
	minArea, maxArea = 3, 15
	maxVolume        = 100
	maxExerciseName  = 49
	maxSessionInfo   = 200
)

// Validate reports every field that is missing or out of bounds.
func (r *SessionRequest) Validate() error {
	var faults apierr.Faults
	faults.Check(r.Attributes != nil, "attributes", "Attributes are required.")
	if a := r.Attributes; a != nil {
		lengths(&faults, "attributes.areasToWorkout", a.AreasToWorkout, minArea, maxArea)
		faults.Check(a.Volume >= 0 && a.Volume <= maxVolume, "attributes.volume", "The volume is out of range.")
		const exercises = "attributes.exerciseToKilograms"
		faults.Check(a.ExerciseToKilograms != nil, exercises, "Exercises are required.")
		for name := range a.ExerciseToKilograms {
			if apierr.Length(name) > maxExerciseName {
				faults.Check(false, exercises, "The name of an exercise is too long.")
				break
			}
		}
		faults.Check(apierr.Length(a.AdditionalInfo) <= maxSessionInfo, "attributes.additionalInfo", "The text is too long.")
	}
	return faults.Err()
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
