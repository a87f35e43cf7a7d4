// Succeeds if the backend that the environment asks for runs here.
import { engine } from './module.mjs';

engine.backend();
