"""Robot and task schema, bags, images, alignment and saliency maths: no rclpy, no torch."""
