"""Commands that show pictures: studio, plot."""
