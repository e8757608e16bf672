// What the stream does not tell, asked for now and then.

import { useEffect, useState } from "../vendor/hooks.mjs";

/** A value asked for now and then while the page is looked at: [value, wrong, again]. */
export function usePoll(ask, period) {
  const [told, setTold] = useState(null);
  const [wrong, setWrong] = useState("");
  const look = () => ask().then((value) => (setTold(value), setWrong("")), (error) => setWrong(error.message));
  useEffect(() => {
    look();
    const beat = setInterval(() => document.hidden || look(), period);
    return () => clearInterval(beat);
  }, []);
  return [told, wrong, look, setTold];
}
