import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

// The built files are embedded into the Go program and must be the same
// wherever they are built. No data: URLs for scripts or styles, since the
// backend's content security policy allows its own files alone.
export default defineConfig({
  plugins: [react()],
  build: { target: "es2022", assetsInlineLimit: 0, modulePreload: { polyfill: false } },
  server: { proxy: Object.fromEntries(["/auth", "/callback_for_oauth", "/chat", "/me", "/logout", "/consent", "/callback"].map((p) => [p, "http://localhost:8090"])) },
});
