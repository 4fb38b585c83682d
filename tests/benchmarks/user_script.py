"""What a user of pandas and scikit-learn would write: `python user_script.py DATA K MODEL OUTPUT`."""

import sys

import joblib  # pyright: ignore[reportMissingImports]
import pandas as pd
from sklearn.mixture import GaussianMixture  # pyright: ignore[reportMissingImports]

data_path, components, model_path, output_path = sys.argv[1:]
table = pd.read_parquet(data_path) if data_path.endswith(".parquet") else pd.read_csv(data_path)
x = table.to_numpy()

model = GaussianMixture(n_components=int(components), random_state=0)
model.fit(x)
joblib.dump(model, model_path)

table["component"] = model.predict(x)
table["probability"] = model.predict_proba(x).max(axis=1)
if output_path.endswith(".parquet"):
    table.to_parquet(output_path, index=False)
else:
    table.to_csv(output_path, index=False)
